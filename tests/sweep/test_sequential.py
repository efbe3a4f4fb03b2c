"""``sequential=true``: rounds of seed pairs until the verdict, and no more."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ppo.compare.sequential import p_values
from ppo.compare.trial import CompareError
from ppo.config.options import ConfigError
from ppo.sweep.sequential import Plan, in_child, plan, run_until_decided
from tests.compare.conftest import run_folder  # noqa: F401 - a fixture
from tests.sweep.test_cells import SMALL


def test_the_plan_is_what_the_words_say():
    words = ["+sweep=ab", "kl=exact,k1", "sequential=3", "seed=range(1,41)", "+experiment=pendulum"]
    todo = plan(words)
    assert todo.words == ["+sweep=ab", "kl=exact,k1", "+experiment=pendulum"]
    assert (todo.folder, todo.by, todo.pairs) == (Path("outputs/sweep-ab").absolute(), ["kl"], 3)
    assert todo.seeds == list(range(1, 41))
    assert plan(["+sweep=ab", "clip.eps=0.1,0.2", "sequential=true"]).seeds == list(range(1, 11))


@pytest.mark.parametrize(
    "words",
    [
        ["+sweep=ab", "sequential=true"],
        ["+sweep=kl", "sequential=true"],
        ["+sweep=ab", "kl=exact,k1", "norm=none,group", "sequential=true"],
        ["+sweep=ab", "kl=exact,k1", "seed=1", "sequential=true"],
        ["+sweep=ab", "kl=exact,k1", "sequential=perhaps"],
        ["kl=exact,k1", "sequential=0"],
    ],
)
def test_what_is_no_comparison_of_two_arms_is_refused(words):
    with pytest.raises(ConfigError, match="sequential="):
        plan(words)


@pytest.fixture
def world(run_folder, tmp_path):  # noqa: F811
    """A factory: (todo, launch, rounds); an arm's runs return ``effect`` more than the other's, beside noise."""

    def make(effect: float, *, seeds: int = 30, pairs: int = 2, broken=()):
        noise = np.random.default_rng(0).standard_normal((2, seeds + 1))
        rounds: list[list[int]] = []

        def launch(batch):
            rounds.append(batch)
            for seed in batch:
                for arm, kl in enumerate(("exact", "k1")):
                    status = "failed" if (seed, kl) in broken else "finished"
                    run_folder([10 + effect * arm + noise[arm, seed]], kl=kl, seed=seed, status=status)

        return Plan([], tmp_path / "runs", ["kl"], list(range(1, seeds + 1)), pairs), launch, rounds, noise

    return make


def test_a_planted_difference_ends_it_at_the_round_that_decides(world):
    todo, launch, rounds, noise = world(3.0)
    said = []
    pair = run_until_decided(todo, launch, said.append)
    assert pair["verdict"] == "b is higher" and pair["b"] == "kl=k1"
    p = p_values(noise[0, 1:] - noise[1, 1:] - 3.0)
    decided_at = max(5, int(np.argmax(p <= 0.05)) + 1)  # below five pairs there is no comparison
    assert len(said) == len(rounds) == -(-decided_at // todo.pairs) < 15


def test_equal_arms_use_the_budget_and_stay_undecided(world):
    todo, launch, rounds, _ = world(0.0, seeds=12, pairs=4)
    pair = run_until_decided(todo, launch, lambda line: None)
    assert pair["verdict"] == "undecided"
    assert [seed for batch in rounds for seed in batch] == todo.seeds


def test_arms_that_are_the_same_run_cost_one_round(world, run_folder):  # noqa: F811
    todo, _, _, _ = world(0.0, seeds=12, pairs=2)
    rounds = []

    def launch(batch):
        rounds.append(batch)
        for seed in batch:
            for kl in ("exact", "k1"):
                run_folder([10.0 + seed], kl=kl, seed=seed)

    said = []
    pair = run_until_decided(todo, launch, said.append)
    assert rounds == [[1, 2]] and said == [] and "are the same run" in pair["sentence"]


def test_the_same_again_runs_nothing_and_ends_at_the_same_point(world):
    todo, launch, rounds, _ = world(3.0)
    first = run_until_decided(todo, launch, lambda line: None)
    before = [*rounds]
    assert run_until_decided(todo, launch, lambda line: None) == first
    assert rounds == before


def test_a_cell_that_was_killed_is_run_before_it_is_looked_at(world, run_folder):  # noqa: F811
    todo, launch, rounds, _ = world(0.0, seeds=6, pairs=3)
    for kl, status in (("exact", "finished"), ("k1", "running")):
        run_folder([10.0], kl=kl, seed=6, status=status, name=f"first {kl}")

    def relaunch(batch):
        if 6 in batch:  # as a sweep does: what finished stays, what did not is run again
            about = todo.folder / "first k1" / "run.json"
            about.write_text(json.dumps(json.loads(about.read_text()) | {"status": "finished"}))
        launch([seed for seed in batch if seed != 6])

    said = []
    pair = run_until_decided(todo, relaunch, said.append)
    assert [line.split(":")[0] for line in said] == ["3 pairs", "6 pairs"]
    assert rounds == [[1, 2, 3], [4, 5]] and pair["failed_a"] == pair["failed_b"] == 0


def test_a_failed_run_counts_and_stops_nothing(world):
    todo, launch, _, _ = world(0.0, seeds=6, broken={(2, "k1")})
    pair = run_until_decided(todo, launch, lambda line: None)
    assert (pair["n_b"], pair["failed_b"]) == (6, 1)


def test_a_folder_with_a_third_arm_is_refused(world, run_folder):  # noqa: F811
    todo, launch, _, _ = world(0.0, seeds=6)
    run_folder([1.0], kl="k3", seed=1)
    with pytest.raises(CompareError, match="other runs"):
        run_until_decided(todo, launch, lambda line: None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_planted_difference_on_a_probe_is_found_before_the_budget_ends(tmp_path):
    words = [*SMALL, "env.task=target", "total_steps=2048", "+sweep=ab", "lr.value=1e-2,1e-8", "seed=range(1,21)"]
    words += ["network.orthogonal=true"]  # every seed begins with the mean action 0: without, their luck is most of it
    command = [sys.executable, "-m", "ppo.train", *words, "sequential=5", f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 pairs: " in done.stdout and "lr.value=0.01 is higher than lr.value=1e-08" in done.stdout
    runs = sorted(json.loads(path.read_text())["status"] for path in tmp_path.glob("*/run.json"))
    assert runs == ["finished"] * len(runs) and 10 <= len(runs) < 40
    again = subprocess.run(command, text=True, capture_output=True, check=False)
    assert again.stdout.splitlines()[-2:] == done.stdout.splitlines()[-2:]
    assert len([*tmp_path.glob("*/run.json")]) == len(runs)


def test_what_is_asked_of_it_is_asked_of_the_round_that_runs(tmp_path):
    """It ends in its own time, and then the command does, by the signal's exit code."""
    program = f"""
import signal, sys, time
def ask(number, frame):
    time.sleep(0.5)
    open({str(tmp_path / "saved")!r}, "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, ask)
open({str(tmp_path / "there")!r}, "w").close()
time.sleep(60)
"""

    def ask() -> None:
        while not (tmp_path / "there").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(SystemExit) as stop:
        in_child([sys.executable, "-c", program])
    assert stop.value.code == 143 and (tmp_path / "saved").exists()
    assert signal.getsignal(signal.SIGTERM) is before
    assert in_child([sys.executable, "-c", "raise SystemExit(3)"]) == 3
