"""While a run trains: what is new is told once, on the console, to the dashboard and in the metrics; and afterwards."""

import io
import json
import re
import shutil
import sys

import pytest
from omegaconf import OmegaConf

from ppo.config.options import ConfigError, plain
from ppo.doctor import __main__ as command
from ppo.doctor.watch import Watch
from ppo.logging.base import Forgiving, Run
from ppo.logging.none import Nothing
from ppo.train import train

SICK = ("env.task=target", "kl=k1_clamped", "stop=minibatch", "target_kl=0.02", "total_steps=2560", "eval.every=0")
SICK += ("epochs=6", "num_steps=64", "lr.value=3e-3")


@pytest.fixture
def sick(config, tmp_path):
    """A run whose updates are ended by a biased estimator; its folder."""

    def run(*words: str):
        train(config(*SICK, *words), Run(tmp_path / "run", "run", {}))
        return tmp_path / "run"

    return run


@pytest.fixture
def left(finished, tmp_path):
    """What such a run left, to do with as one likes; its folder."""
    return lambda: shutil.copytree(finished(*SICK).folder, tmp_path / "run")


def rows(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_cause_is_told_once_and_stays_in_the_metrics(sick, capsys, monkeypatch):
    alerts = []
    monkeypatch.setattr(Nothing, "alert", lambda self, title, text: alerts.append((title, text)))
    folder = sick()
    told = [text for text in capsys.readouterr().out.splitlines() if "doctor:" in text]
    assert len(told) == len(alerts) == 1
    assert (
        re.match(r"update \d+: doctor: .*k1_clamped.*; try kl=exact", told[0]) and alerts[0][0] == "doctor: estimator"
    )
    counts = [row["doctor/findings"] for row in rows(folder)]
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (0, 1)
    assert all(row["doctor/band"] in range(5) for row in rows(folder))


def test_it_can_be_switched_off(sick, capsys):
    folder = sick("doctor.live=false")
    assert "doctor:" not in capsys.readouterr().out and not any("doctor/band" in row for row in rows(folder))


def test_a_threshold_of_the_configuration_is_heeded(sick, capsys):
    sick("+doctor.thresholds.estimator.truth=1e-9", "+doctor.thresholds.target_tight.steps=0")
    assert "doctor:" not in capsys.readouterr().out


def test_a_threshold_that_there_is_not_stops_the_run_before_it_exists(sick, tmp_path):
    with pytest.raises(ConfigError, match="did you mean estimator.truth"):
        sick("+doctor.thresholds.estimator.thruth=1")
    assert list(tmp_path.iterdir()) == []


def test_a_logger_that_cannot_tell_does_not_end_the_run(capsys):
    class Deaf(Nothing):
        def alert(self, title, text):
            raise ConnectionError("gone")

        picture = alert

    logger = Forgiving(Deaf())
    logger.alert("a", "b")
    logger.picture("a", "b")
    assert capsys.readouterr().err == "deaf: failed, the run goes on: gone\n"


def test_a_long_run_is_not_diagnosed_at_every_update(history, config, monkeypatch):
    calls = []
    monkeypatch.setattr("ppo.doctor.watch.diagnose", lambda *a, **k: calls.append(1) or [])
    watch = Watch(plain(config()))
    for update in range(1, 2001):
        watch({"update": update, "kl/final": 0.0})
    assert 100 < len(calls) < 300


def test_the_beginning_of_a_long_run_stays_in_sight(config, monkeypatch):
    """Some checks compare with what the policy began with, and with the first fifth."""
    seen = []
    monkeypatch.setattr("ppo.doctor.watch.diagnose", lambda history, **_: seen.append(history["update"]) or [])
    watch = Watch(plain(config()), window=100)
    for update in range(1, 1001):
        watch({"update": update, "kl/final": 0.0})
    assert seen[-1].tolist() == [*range(1, 21), *range(921, 1001)]


# Afterwards


def test_a_diagnosis_reads_as_advice(left, capsys):
    folder = left()
    capsys.readouterr()
    assert command.main([str(folder)]) == 0
    text = capsys.readouterr().out
    for part in ("KL(old‖new) after an update: median", "pattern: ", "One finding", "where", "why", "type", "kl=exact"):
        assert part in text
    assert command.main([str(folder), "--set", "estimator.truth=1e-9", "target_tight.steps=0"]) == 0
    assert "Nothing to change" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_diagnosis_on_a_terminal_that_is_not_utf8(history, tmp_path, monkeypatch, encoding):
    """By a relative path with a space and an umlaut."""
    folder = tmp_path / "Läufe und mehr"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history().rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert command.main(["Läufe und mehr"]) == 0
    out.flush()
    assert b"KL(old?new) after an update" in out.buffer.getvalue() and b"ufe und mehr" in out.buffer.getvalue()


def test_what_if_is_a_table(left, capsys):
    folder = left()
    capsys.readouterr()
    assert (
        command.main([str(folder), "--what-if", "kl=k1_clamped,exact", "target_kl=0.01", "stop=minibatch,rollback"])
        == 0
    )
    text = capsys.readouterr().out
    assert (
        "kl=k1_clamped target_kl=0.01" in text
        and "~stop=rollback kl=exact" in text
        and "~ from the first minibatch" in text
    )


def test_a_failed_run_says_why(left, capsys):
    folder = left()
    about = json.loads((folder / "run.json").read_text()) | {
        "status": "failed",
        "reason": "EnvError: the floor is gone",
    }
    (folder / "run.json").write_text(json.dumps(about))
    command.main([str(folder)])
    assert "it failed: EnvError: the floor is gone" in capsys.readouterr().out
    (folder / "metrics.jsonl").write_text("")
    assert command.main([str(folder)]) == 2
    assert "the floor is gone" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "rows", "config", "threshold", "value", "nothing"])
def test_a_mistake_is_one_line(left, capsys, tmp_path, damage):
    folder, words = tmp_path / "run", []
    if damage == "nothing":
        arguments = []
    elif damage == "missing":
        arguments = [str(tmp_path / "nowhere")]
    else:
        arguments = [str(left())]
        if damage == "rows":
            (folder / "metrics.jsonl").write_text("{}\nno\n{}\n")
        elif damage == "config":
            (folder / "config.yaml").write_text("a: [")
        else:
            words = ["--set", "critic.explain=1" if damage == "threshold" else "critic.explained=high"]
    capsys.readouterr()
    assert command.main([*arguments, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_run_without_its_configuration_is_read_all_the_same(left, capsys):
    folder = left()
    (folder / "config.yaml").unlink()
    assert command.main([str(folder)]) == 0
    OmegaConf.save({}, folder / "config.yaml")
    assert command.main([str(folder)]) == 0
