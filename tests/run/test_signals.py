"""Asked to end, a run finishes its update, saves, closes, and says so by its exit code; a sweep asks its cells."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo.logging import jsonl
from ppo.run import checkpoint, signals
from ppo.run.signals import Interrupted

SMALL = ["logger=none", "env=probe", "num_envs=2", "num_steps=32", "minibatch_size=32", "epochs=1", "compile=false"]
SMALL += ["network.actor=[8]", "network.critic=[8]", "eval.every=0"]


@pytest.fixture
def listening():
    """As in a process of its own: nobody has asked yet, and afterwards nobody had."""
    with signals.listening():
        yield
    signals._asked = None


def test_a_signal_asks_and_the_next_check_ends_the_run(listening, capfd):
    signals.check()
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)  # so soon after, it is the same request
    with pytest.raises(Interrupted, match="SIGUSR1; resume= continues it, in a sweep its command") as error:
        signals.check()
    assert error.value.code == 138
    assert capfd.readouterr().err == "SIGUSR1: finishing the update, then ending; once more ends at once\n"


def test_nobody_who_listens_is_no_reason_to_fail(listening, monkeypatch):
    """``2>&1 | tee log``: the same Ctrl-C ends tee, and then the run's words have no reader."""

    def gone(*_):
        raise BrokenPipeError

    monkeypatch.setattr(signals.os, "write", gone)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Interrupted, match="SIGINT"):
        signals.check()


def test_in_a_process_of_somebody_elses_the_second_request_is_theirs(monkeypatch):
    """ppo.fit in a notebook: interrupted twice it ends, and the notebook does not."""
    monkeypatch.setattr(signals, "_SAME", 0.0)
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with signals.listening(forget=True):
            signal.raise_signal(signal.SIGTERM)
            assert signals.asked() == signal.SIGTERM and got == []
            time.sleep(0.01)
            signal.raise_signal(signal.SIGTERM)
            assert got == [signal.SIGTERM]
        with signals.listening(forget=True):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signals.asked() is None


def test_the_handlers_of_before_come_back(listening):
    signals._asked = None
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.listening():
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


@pytest.fixture
def begun(tmp_path):
    """A factory of training processes; each has written the file named ``until``, by default its first row."""
    processes = []

    def start(*words: str, until: str = "metrics.jsonl") -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "ppo.train", *SMALL, *words],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        while not any(path.stat().st_size for path in tmp_path.glob(f"**/{until}")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGUSR1")]


@pytest.mark.parametrize("name", ["SIGTERM", *SLOW])
def test_a_run_that_is_asked_to_end_saves_closes_and_says_so(begun, tmp_path, name):
    process = begun("total_steps=10_000_000", "workers=1", f"hydra.run.dir={tmp_path / 'run'}")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.Signals[name])
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.Signals[name]
    assert err.splitlines()[0].startswith(f"{name}: finishing the update") and "Traceback" not in err
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["status"] == "interrupted" and name in said["reason"]
    rows = jsonl.read(tmp_path / "run" / "metrics.jsonl")
    meta = checkpoint.load(checkpoint.find(tmp_path / "run"))[1]
    assert meta["progress"]["updates"] == rows[-1]["update"]
    assert not any(Path("/proc", child).exists() for child in children)


@pytest.mark.slow
def test_asked_twice_a_run_ends_at_once(begun, tmp_path):
    """Here in an update that takes minutes. The checkpoint before it stays whole."""
    words = ("total_steps=10_000_000", "num_steps=320000", "minibatch_size=640000", f"hydra.run.dir={tmp_path}")
    process = begun(*words, until="latest.safetensors")
    time.sleep(1)  # into the update; before it, the first request would end the run
    process.send_signal(signal.SIGINT)
    assert "finishing the update" in process.stderr.readline()
    time.sleep(1.2)  # the same signal within a second is no second request
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT
    assert checkpoint.load(checkpoint.find(tmp_path))[1]["progress"]["updates"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_passes_it_on_and_goes_on_from_there(begun, tmp_path, launcher):
    words = [
        "hydra.mode=MULTIRUN",
        "seed=1,2,3",
        f"hydra.sweep.dir={tmp_path}",
        "hydra.sweep.subdir=${seed}",
        "workers=0",
    ]
    words += ["hydra/launcher=" + launcher, *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else [])]
    process = begun("total_steps=1_000_000", *words)
    time.sleep(1)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    statuses = {
        seed: json.loads((tmp_path / seed / "run.json").read_text())["status"]
        for seed in "123"
        if (tmp_path / seed / "run.json").exists()
    }
    assert "interrupted" in statuses.values() and not {"running", "finished"} & set(statuses.values())
    assert "0 of" in err and "SIGTERM" in err
