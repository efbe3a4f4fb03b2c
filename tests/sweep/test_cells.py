"""Sweeps: every cell runs once, whatever happened before, and the end says which did not finish."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from ppo import cli
from ppo.compare.load import load
from ppo.config.options import CONF, ConfigError
from ppo.run.folder import hold
from ppo.run.signals import Interrupted
from ppo.sweep.callback import Sweep, count
from ppo.sweep.cells import _is_held, cell, inspect, report

CONFIG = {"lr": 1e-3, "workers": 0, "total_steps": 64}
SMALL = ["logger=none", "env=probe", "num_envs=2", "num_steps=32", "minibatch_size=32", "total_steps=64", "epochs=1"]
SMALL += ["compile=false", "workers=0", "network.actor=[8]", "network.critic=[8]"]


def finish(folder: Path, value: float = 3.0) -> None:
    (folder / "run.json").write_text(json.dumps({"status": "finished"}))
    (folder / "metrics.jsonl").write_text(json.dumps({"update": 1, "eval/return": value}) + "\n")
    (folder / "config.yaml").write_text("lr: 0.001\nworkers: 2\ntotal_steps: 64\n")


def test_a_finished_cell_gives_its_result_and_keeps_its_files(tmp_path):
    finish(tmp_path)
    with cell(tmp_path, CONFIG) as done:
        assert done == 3.0
    assert {p.name for p in tmp_path.iterdir()} == {"run.json", "metrics.jsonl", "config.yaml"}


def test_a_finished_cell_of_another_configuration_is_not_taken_for_this_one(tmp_path):
    finish(tmp_path)
    with (
        pytest.raises(ConfigError, match=r"another configuration: lr=1.0 \(was 0.001\)"),
        cell(tmp_path, CONFIG | {"lr": 1.0}),
    ):
        pass
    assert inspect(tmp_path).status == "finished"


@pytest.mark.parametrize("status", ["failed", "running"])
def test_an_attempt_without_a_checkpoint_is_put_aside(tmp_path, status):
    folder = tmp_path / "cell"
    for number in (1, 2):
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text(json.dumps({"status": status}))
        with cell(folder, CONFIG) as done:
            assert done is None and not any(folder.iterdir())
        assert (tmp_path / ".attempts" / f"cell.{number}" / "run.json").exists()


@pytest.mark.parametrize(("lr", "goes_on"), [(1e-3, True), (1.0, False)])
def test_an_attempt_with_a_checkpoint_goes_on_unless_it_is_of_another_configuration(tmp_path, lr, goes_on):
    folder = tmp_path / "cell"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "latest.safetensors").touch()
    (folder / "config.yaml").write_text("lr: 0.001\nworkers: 2\ntotal_steps: 64\n")
    (folder / "run.json").write_text(json.dumps({"status": "running"}))
    (folder / "error.txt").write_text("of the last attempt")
    with cell(folder, CONFIG | {"lr": lr}) as done:
        assert done is None and not (folder / "error.txt").exists()
        assert (folder / "checkpoints").exists() is goes_on
    assert (tmp_path / ".attempts" / "cell.1").exists() is not goes_on


def test_a_finished_cell_goes_on_to_a_larger_total(tmp_path):
    finish(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest.safetensors").touch()
    with cell(tmp_path, CONFIG | {"total_steps": 128}) as done:
        assert done is None and (tmp_path / "checkpoints").exists()


def test_a_failure_is_written_down(tmp_path):
    with pytest.raises(RuntimeError), cell(tmp_path, CONFIG):
        raise RuntimeError("the floor is gone\nmore")
    assert inspect(tmp_path)[1:] == ("failed", "RuntimeError: the floor is gone")
    assert "Traceback" in (tmp_path / "error.txt").read_text()
    assert (tmp_path / "config.yaml").read_text() == "lr: 0.001\nworkers: 0\ntotal_steps: 64\n"


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("the floor is gone"), "failed"), (Interrupted(15), "interrupted")]
)
def test_a_killed_cell_that_then_fails_before_it_trains_says_why(tmp_path, error, status):
    """What its first attempt left stays beside it: the commit, the logger's id."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest.safetensors").touch()
    (tmp_path / "config.yaml").write_text("lr: 0.001\nworkers: 0\ntotal_steps: 64\n")
    (tmp_path / "run.json").write_text('{"status": "running", "logger_run_id": "x"}')
    with pytest.raises(type(error)), cell(tmp_path, CONFIG):
        raise error
    assert inspect(tmp_path)[1:] == (status, f"{type(error).__name__}: {error}")
    assert json.loads((tmp_path / "run.json").read_text())["logger_run_id"] == "x"


def test_a_cell_that_failed_twice_says_the_second_reason(tmp_path):
    """Before its run opened, that is."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest.safetensors").touch()
    (tmp_path / "config.yaml").write_text("lr: 0.001\nworkers: 0\ntotal_steps: 64\n")
    (tmp_path / "run.json").write_text('{"status": "interrupted", "reason": "Interrupted: SIGTERM"}')
    with pytest.raises(RuntimeError), cell(tmp_path, CONFIG):
        raise RuntimeError("no licence")
    assert inspect(tmp_path)[1:] == ("failed", "RuntimeError: no licence")


def test_what_a_run_says_of_its_own_end_stays(tmp_path):
    def fail() -> None:
        (tmp_path / "run.json").write_text('{"status": "failed", "reason": "KL"}')
        raise RuntimeError("what became of it")

    with pytest.raises(RuntimeError), cell(tmp_path, CONFIG):
        fail()
    assert inspect(tmp_path)[1:] == ("failed", "KL")


@pytest.mark.parametrize("word", ["kl=foo,exact", "clip.epsi=0.1,0.2"])
def test_a_mistake_in_a_swept_word_is_said_and_no_advice_that_would_not_help(tmp_path, monkeypatch, capsys, word):
    monkeypatch.setattr(Sweep, "folder", None)
    monkeypatch.setattr(sys, "argv", ["ppo-train", "-m", word, *SMALL, f"hydra.sweep.dir={tmp_path}"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 1 and "2 did not begin: " in said and word.partition("=")[0] in said
    assert "same command again" not in said


def test_a_cell_that_runs_is_not_resumed_beside_it_and_the_other_way_round(tmp_path):
    """``resume=CELL`` while its sweep runs would write into the same metrics."""
    (folder := tmp_path / "cell").mkdir()
    with cell(folder, CONFIG), pytest.raises(ConfigError, match="another process is running there"), hold(folder):
        pass
    with hold(folder):
        assert _is_held(folder)
    assert not _is_held(folder)


def test_a_cell_waits_for_the_process_that_runs_it(tmp_path):
    """A sweep that was killed may leave a job behind; what it finishes is not run again."""
    program = """
import sys
from pathlib import Path
from ppo.sweep.cells import cell
from tests.sweep.test_cells import CONFIG, finish
with cell(Path(sys.argv[1]), CONFIG):
    print("mine", flush=True)
    sys.stdin.readline()
    finish(Path(sys.argv[1]))
"""
    (folder := tmp_path / "cell").mkdir()
    (folder / "run.json").write_text('{"status": "running"}')
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        (folder / "run.json").write_text('{"status": "running"}')
        report(tmp_path, Console(file=(out := io.StringIO())))
        assert "running" in out.getvalue() and "died" not in out.getvalue()
        threading.Timer(0.5, lambda: print("go on", file=other.stdin, flush=True)).start()
        with cell(folder, CONFIG) as done:
            assert done == 3.0


def test_the_report_counts_cells_and_lists_those_that_did_not_finish(tmp_path):
    for name, status in (("a", "finished"), ("b", "failed"), ("c", "running"), (".attempts/b.1", "failed")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text(json.dumps({"status": status, "reason": f"why {name}"}))
    out = io.StringIO()
    assert report(tmp_path, Console(file=out, width=200)) == 2
    said = out.getvalue()
    assert "1 of 3 cells finished" in said and "why b" in said and "died" in said and "attempts" not in said


def test_the_report_counts_what_was_asked_for_and_shows_names_letter_by_letter(tmp_path):
    """Of five cells asked for one finished, one failed, three never began; what another sweep left is not counted."""
    long = "env.variants=[flat,[red],[flat]]" + "x" * 200
    for name, status, token in (("a", "finished", "t"), (long, "failed", "t"), ("old", "failed", "another")):
        (tmp_path / name).mkdir()
        about = {"status": status, "reason": "[/opt/sim/model.xml] not found"}
        (tmp_path / name / "run.json").write_text(json.dumps(about))
        (tmp_path / ".locks").mkdir(exist_ok=True)
        (tmp_path / ".locks" / name).write_text(token)
    out = io.StringIO()
    assert report(tmp_path, Console(file=out, width=80), asked=5, token="t") == 4
    said = out.getvalue()
    assert "1 of 5 cells finished" in said and "3 did not begin" in said and "old" not in said
    assert long in said and "[/opt/sim/model.xml] not found" in said


def asked(*words: str) -> int | None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [word for word in words if word.startswith("+sweep=")], return_hydra_config=True)
        cfg.hydra.overrides.task = list(words)
        return count(cfg)


def test_the_cells_that_words_ask_for_are_counted():
    assert asked("+sweep=ab", "kl=exact,k1") == 20 and asked("+sweep=ab", "kl=exact,k1", "seed=range(1,4)") == 6
    assert asked("seed=1,2", "lr.value=choice(1,2,3)", "kl=glob(k1*)") == 12
    assert asked("seed=1,1") == 1 and asked("kl=k1") == 1
    assert asked("+sweep=search") is None


WANDERER = """
import os, tempfile
import gymnasium as gym
import numpy as np

class Wanderer(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32)
    def __init__(self):
        os.chdir(tempfile.mkdtemp(dir=ELSEWHERE))
    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(2, np.float32), {}
    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), 0.0, False, self.t >= 8, {}

gym.register("Wanderer-v0", Wanderer)
"""


def test_a_sweep_of_environments_that_change_the_directory_stays_together(tmp_path, monkeypatch, capsys):
    (tmp_path / "wanderer.py").write_text(f"ELSEWHERE = {str(tmp_path / 'elsewhere')!r}\n{WANDERER}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Sweep, "folder", None)
    words = ["env=gym", "env.id=wanderer:Wanderer-v0", "eval.episodes=0"]
    words = [*(word for word in SMALL if word != "env=probe"), *words, "seed=1,2", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", ["ppo-train", "-m", *words, "hydra.sweep.dir='my [sweep] $'"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 0 and "2 of 2 cells finished" in said, said
    assert Path.cwd() == tmp_path / "here"
    assert len([*(tmp_path / "here" / "my [sweep] $").glob("*/run.json")]) == 2
    assert not [*(tmp_path / "elsewhere").rglob("run.json")]


@pytest.mark.parametrize("id", ["../../../out/X-v0", "a/b", "x" * 300])
def test_a_cell_cannot_leave_the_folder_of_its_sweep(tmp_path, monkeypatch, capsys, id):
    words = ["-m", *SMALL, "env=gym", f"env.id={id}", "seed=1,2", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", ["ppo-train", *words, f"hydra.sweep.dir={tmp_path}/in/sweep"])
    monkeypatch.setattr(Sweep, "folder", None)
    with pytest.raises(SystemExit):  # there is no such environment
        cli.main()
    assert "0 of 2 cells finished" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [tmp_path / "in"] and [*(tmp_path / "in").iterdir()] == [tmp_path / "in" / "sweep"]
    cells = [cell for cell in (tmp_path / "in" / "sweep").iterdir() if cell.is_dir() and not cell.name.startswith(".")]
    assert len(cells) == 2 and all((cell / "run.json").exists() for cell in cells)


def test_the_same_command_again_runs_what_is_missing_and_nothing_else(tmp_path, monkeypatch, capsys):
    words = ["-m", *SMALL, f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${hydra.job.num}", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", ["ppo-train", *words, "seed=1,2", "minibatch_size=32,30"])
    monkeypatch.setattr(Sweep, "folder", None)

    def sweep() -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr().err
        assert stop.value.code == 1 and "2 of 4 cells finished" in said
        return said

    said = sweep()
    assert "minibatch_size" in said and "Traceback" not in said
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/metrics.jsonl")}
    assert len(before) == 2
    sweep()
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/metrics.jsonl")} == before
    # A comparison counts the cells that never began, once, and not what was put aside.
    assert sorted(bool(trial.failed) for trial in load([tmp_path])) == [False, False, True, True]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_killed_in_the_middle_and_started_again_executes_each_cell_once(tmp_path):
    words = [*SMALL, "+sweep=ab", "seed=1,2,3,4", "total_steps=16000", f"hydra.sweep.dir={tmp_path}"]
    command = [sys.executable, "-m", "ppo.train", *words, "hydra.sweep.subdir=${seed}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 120
        while not any((tmp_path / s / "run.json").exists() for s in "1234") and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = [
            int(p) for t in Path(f"/proc/{first.pid}/task").iterdir() for p in (t / "children").read_text().split()
        ]
        os.kill(first.pid, signal.SIGKILL)
    assert len(workers) >= 2
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    again = subprocess.run(command, text=True, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "4 of 4 cells finished" in again.stderr
    for seed in "1234":
        rows = [json.loads(line) for line in (tmp_path / seed / "metrics.jsonl").read_text().splitlines()]
        # Of 250 rollouts the first one only warms the statistics up.
        assert [row["update"] for row in rows] == list(range(1, 250))
        assert [row["env_steps"] for row in rows] == list(range(128, 16001, 64))


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_a_launcher_that_fails_before_any_cell_says_why(tmp_path, monkeypatch, capsys, kind):
    def fail():
        raise kind("no semaphores here")

    monkeypatch.setattr(cli, "job", fail)
    monkeypatch.setattr(Sweep, "folder", tmp_path)
    monkeypatch.setattr(Sweep, "asked", 2)
    monkeypatch.setattr(sys, "argv", ["ppo-train", "-m", "seed=1,2"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 1 and "2 did not begin" in said and "error: no semaphores here" in said
