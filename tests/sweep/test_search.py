"""A search: its value is the endpoint, its study goes on where it stopped."""

import signal
import sys

import pytest

from ppo import cli
from ppo.run import signals
from ppo.run.folder import endpoint, run_folders
from ppo.sweep.cells import Sweep
from ppo.sweep.search import left
from tests.sweep.test_cells import SMALL

optuna = pytest.importorskip("optuna")
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")


@pytest.fixture
def storage(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def test_what_was_running_is_asked_for_again_and_failures_are_made_up_for(storage):
    assert left(storage, "s", 5) == 5
    study = optuna.load_study(study_name="s", storage=storage)
    values = []
    for outcome in (1.0, 2.0, None, "running"):
        trial = study.ask()
        values.append(trial.suggest_loguniform("lr", 1e-5, 1e-2))
        if outcome is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif outcome != "running":
            study.tell(trial, outcome)
    assert left(storage, "s", 5) == 3
    assert left(storage, "s", 5) == 3  # nothing is queued twice
    study = optuna.load_study(study_name="s", storage=storage)
    asked = [study.ask().suggest_loguniform("lr", 1e-5, 1e-2) for _ in range(3)]
    assert asked[0] == values[3] and not {*asked[1:]} & {*values}
    assert left(storage, "s", 2) == 0


def search(monkeypatch, folder, *words: str) -> int:
    monkeypatch.setattr(Sweep, "folder", None)
    words = [*SMALL, "+sweep=search", "hydra/launcher=basic", f"hydra.sweep.dir={folder}", *words]
    monkeypatch.setattr(sys, "argv", ["ppo-train", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_a_search_goes_on_where_it_stopped(monkeypatch, tmp_path, storage):
    assert search(monkeypatch, tmp_path, "env.task=target", "hydra.sweeper.n_trials=2") == 0
    first = {folder: (folder / "metrics.jsonl").stat().st_mtime_ns for folder in run_folders(tmp_path)}
    assert len(first) == 2
    assert search(monkeypatch, tmp_path, "env.task=target", "hydra.sweeper.n_trials=3") == 0
    now = {folder: (folder / "metrics.jsonl").stat().st_mtime_ns for folder in run_folders(tmp_path)}
    assert len(now) == 3 and first.items() <= now.items()
    trials = optuna.load_study(study_name="search", storage=storage).trials
    assert all(set(trial.params) == {"lr.value", "clip.eps", "target_kl", "gae_lambda"} for trial in trials)
    assert sorted(trial.value for trial in trials) == sorted(map(endpoint, now))


def test_a_failed_trial_is_told_and_stops_no_other(monkeypatch, tmp_path, storage):
    words = ["lr.value=choice(1e-3)", "clip.eps=choice(0.2)", "target_kl=choice(0.02)", "gae_lambda=choice(0.9)"]
    words += ["env.task=target,mystery", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=2"]
    assert search(monkeypatch, tmp_path, *words) == 1
    trials = optuna.load_study(study_name="search", storage=storage).trials
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "FAIL"]


def test_a_search_that_is_asked_to_end_keeps_its_trials(monkeypatch, tmp_path, storage):
    """They stay as they were, and the next start asks for them again; none is drawn after them."""
    words = ["env.task=target", "hydra.sweeper.n_trials=3"]

    def ask(*_, **__):
        signals._asked = signal.SIGTERM
        signals.check()

    with monkeypatch.context() as patch:
        patch.setattr("ppo.train.train", ask)
        try:
            assert search(patch, tmp_path, *words) == 143
        finally:
            signals._asked = None
    first = optuna.load_study(study_name="search", storage=storage).trials
    assert {trial.state.name for trial in first} == {"RUNNING"}
    assert search(monkeypatch, tmp_path, *words) == 0
    trials = optuna.load_study(study_name="search", storage=storage).trials
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(done) == 3 and all(trial.params in [x.params for x in done] for trial in first)
    assert all(trial.state.name == "FAIL" for trial in trials[: len(first)])
