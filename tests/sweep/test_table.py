"""The table of a sweep: what the folders of its cells say, in the lines that a terminal has."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ppo.sweep.table import Row, into_file, look, picture, short, summary
from tests.conftest import ROOT


def cell(sweep: Path, name: str, *, token="t", status=None, steps=(), total=100, **said):
    (sweep / ".locks").mkdir(exist_ok=True)
    (sweep / ".locks" / name).write_text(token)
    (sweep / name).mkdir()
    if status:
        (sweep / name / "run.json").write_text(json.dumps({"status": status} | said))
        (sweep / name / "config.yaml").write_text(f"seed: 1\ntotal_steps: {total}\n")
        rows = [{"env_steps": n, "time/wall": n / 10, "train/return": float(n)} for n in steps]
        if rows:
            rows[0]["eval/return"] = 7.0
        (sweep / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"torn')


def drawn(sweep, rows, asked, height=20, width=80):
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(picture(sweep, rows, asked, height))
    return out.getvalue().splitlines()


@pytest.fixture
def sweep(tmp_path):
    cell(tmp_path, "env=x,kl=a,seed=1", status="finished", steps=(50, 100))
    cell(tmp_path, "env=x,kl=a,seed=2", status="running", steps=(20, 40))
    cell(tmp_path, "env=x,kl=b,seed=1", status="failed", steps=(20,), reason="EnvError: the floor is gone")
    cell(tmp_path, "env=x,kl=b,seed=2")
    cell(tmp_path, "env=x,kl=c,seed=2", token="another sweep's", status="running", steps=(20,))
    return tmp_path


def test_what_the_folders_of_this_sweep_say(sweep):
    done = {}
    rows = look(sweep, "t", done)
    assert [(row.status, row.steps, row.total, row.value) for row in rows] == [
        ("finished", 100, 100, 7.0),
        ("running", 40, 100, 7.0),
        ("failed", 20, 100, 7.0),
        ("begins", 0, 0, None),
    ]
    assert [row.left for row in rows] == [None, pytest.approx(6.0), None, None]
    assert [*done] == ["env=x,kl=a,seed=1"] and rows[2].reason == "EnvError: the floor is gone"
    (sweep / "env=x,kl=a,seed=1" / "metrics.jsonl").unlink()  # not read again
    assert look(sweep, "t", done) == rows


def test_a_return_that_is_not_finite_is_shown(tmp_path):
    cell(tmp_path, "a", status="running", steps=(20,))
    (tmp_path / "a" / "metrics.jsonl").write_text('{"env_steps": 20, "time/wall": 2.0, "train/return": "NaN"}\n')
    (row,) = look(tmp_path, "t", {})
    assert np.isnan(row.value) and any(" nan " in line for line in drawn(tmp_path, [row], 1))


def test_the_time_left_is_that_of_all_cells(sweep):
    """60 steps of the one that runs and 2 cells of 100 steps, at 10 steps a second."""
    said = summary(look(sweep, "t", {}), asked=6)
    assert said == "1 of 6 finished, 2 running, 2 to begin, 1 failed, about 0:00:26 left"
    assert summary([Row("a", "running", 128, 100, 10.0)], asked=1) == "0 of 1 finished, 1 running, about 0:00:00 left"
    assert summary([Row("a", "finished", 100, 100, 10.0)], asked=None) == "1 finished, 0 running"


def test_it_fits_the_terminal_and_shows_first_what_runs(sweep):
    rows = look(sweep, "t", {})
    lines = drawn(sweep, rows, 6)
    assert all(len(line) <= 80 for line in lines) and len(lines) == 6
    names = [line.split()[0] for line in lines[2:]]
    assert names == ["kl=a,seed=2", "kl=b,seed=2", "kl=b,seed=1", "kl=a,seed=1"]
    assert "EnvError: the floor" in lines[4] and "7.0" in lines[2]
    many = [Row(f"seed={n}", "finished", 100, 100, 10.0) for n in range(50)]
    assert len(drawn(sweep, many, 50, height=12)) <= 12 and "and 42 more" in drawn(sweep, many, 50, height=12)[-1]
    assert drawn(sweep, [], 6, width=120)[0].endswith("0 of 6 finished, 0 running, 6 to begin")


def test_a_cell_is_called_by_what_distinguishes_it():
    assert short(["env=x,kl=a,seed=1", "env=x,kl=b,seed=1"]) == ["kl=a", "kl=b"]
    assert short(["env=x,kl=a"]) == ["env=x,kl=a"] and short(["same", "same"]) == ["same", "same"] and short([]) == []


def test_what_a_cell_says_is_in_its_folder(tmp_path, capsys):
    for _ in range(2):
        with into_file(tmp_path, quiet=True):
            print("größe"), print("a warning", file=sys.stderr)
    with into_file(tmp_path, quiet=False):
        print("here")
    assert (tmp_path / "output.txt").read_text(encoding="utf-8").splitlines() == ["größe", "a warning"] * 2
    assert capsys.readouterr().out == "here\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_on_a_terminal_is_one_table(tmp_path):
    words = [
        "-m",
        "seed=1,2",
        "env=probe",
        "logger=none",
        "compile=false",
        "num_envs=2",
        "num_steps=64",
        "total_steps=256",
    ]
    master, slave = pty.openpty()
    env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    command = [sys.executable, "-m", "ppo.train", *words, "hydra.sweep.dir=sweep"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # closed at the other end
            break
        if not piece:
            break
        text += piece
    os.close(master)
    assert process.wait() == 0
    said = text.decode()
    assert "2 of 2 finished, 0 running" in said and "parameters" not in said and said.count("\x1b[?25h") == 1
    for seed in (1, 2):
        (output,) = (tmp_path / "sweep").glob(f"*seed={seed}*/output.txt")
        assert "parameters" in output.read_text() and "\x1b" not in output.read_text()
