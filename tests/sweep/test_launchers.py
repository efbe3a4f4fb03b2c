"""Sweeps by other launchers: a cell runs once, whatever started it, was killed and was started again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from ppo import cli
from ppo.config.extras import needs
from ppo.logging.jsonl import read
from ppo.run.folder import run_folders
from tests.sweep.test_cells import SMALL

PLUGINS = {"submitit_local": "hydra_submitit_launcher", "slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher"}


@pytest.mark.parametrize(
    ("word", "extra"), [("hydra/launcher=ray", "ray"), ("hydra/launcher=slurm", "slurm"), ("+sweep=search", "search")]
)
def test_an_extra_that_is_not_there_is_named(monkeypatch, capsys, word, extra):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["ppo-train", "+sweep=ab", "kl=exact,k1", word])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, capsys.readouterr().err) == (
        2,
        f"error: {needs(word, extra)}\n",
    )


def test_without_slurm_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: name)
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["ppo-train", "+sweep=ab", "kl=exact,k1", "hydra/launcher=slurm"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: hydra/launcher=slurm: there is no sbatch here; start it where Slurm is\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("launcher", PLUGINS)
def test_a_sweep_killed_in_the_middle_and_started_again_finishes_each_cell_once(tmp_path, launcher):
    """Jobs of submitit and Slurm outlive the sweep, and the second start waits for them: nothing is put aside."""
    if not find_spec(f"hydra_plugins.{PLUGINS[launcher]}"):
        pytest.skip(f"{launcher} is an extra")
    if launcher == "slurm" and not shutil.which("sbatch"):
        pytest.skip("there is no Slurm here")
    words = [*SMALL, "+sweep=ab", f"hydra/launcher={launcher}", "kl=exact,k1", "seed=1,2", "total_steps=16000"]
    command = [sys.executable, "-m", "ppo.train", *words, f"hydra.sweep.dir={tmp_path}"]
    command += ["hydra.sweep.subdir=${hydra:runtime.choices.kl}${seed}"]
    deadline = time.monotonic() + 300
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while not run_folders(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
    assert run_folders(tmp_path), "no cell began"
    again = subprocess.run(command, text=True, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "4 of 4 cells finished" in again.stderr
    assert [folder.name for folder in run_folders(tmp_path)] == ["exact1", "exact2", "k11", "k12"]
    for folder in run_folders(tmp_path):
        assert [row["update"] for row in read(folder / "metrics.jsonl")] == list(
            range(1, 250)
        )  # the first rollout warms up
    aside = [json.loads(path.read_text())["status"] for path in tmp_path.glob(".attempts/*/run.json")]
    assert "finished" not in aside
    assert launcher == "ray" or not aside
