"""Names are data: in tables, pictures, HTML and lines to paste they mean nothing and lose nothing."""

import html
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from ppo.compare.cli import main
from ppo.compare.load import load
from ppo.compare.printed import print_table
from ppo.compare.sentence import with_seeds
from ppo.logging.base import visible
from ppo.run.folder import run_folders

ENV = r"Stocks [red]$\$ {2}$ v0"
ARMS = [
    "ppo [/new]",
    "PPO[tanh]",
    r"budget $10 and $\foo",
    "_baseline",
    "größer 学习率=3e-4",
    "<b>&amp;",
    "x" * 299 + "y",
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(what was printed, the folder that was written, stderr) of arms with every kind of name."""
    folder = tmp_path_factory.mktemp("names")
    lines = [f'"{ENV}","{arm}",{seed},{step},{step + 3 * seed + i}' for i, arm in enumerate(ARMS) for seed in range(5)
             for step in (1, 2)]  # fmt: skip
    (folder / "t.csv").write_text("\n".join(["env,arm,seed,step,return", *lines]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppo.compare.compare.stats.permutation", lambda *_, **__: 0.5)  # slow, and not what is looked at
        out, err = Path(folder / "stdout"), Path(folder / "stderr")
        with out.open("w", encoding="utf-8") as stdout, err.open("w", encoding="utf-8") as stderr:
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            assert main([str(folder / "t.csv"), "--baseline", "_baseline", "--out", str(folder / "out")]) == 0
    return out.read_text("utf-8"), folder / "out", err.read_text("utf-8")


@pytest.mark.parametrize("name", [ENV, *ARMS])
def test_a_name_stands_whole_in_tables_and_page(compared, name):
    printed, folder, _ = compared
    assert sum(name in line for line in printed.splitlines()) >= 2
    assert html.escape(name) in (folder / "report.html").read_text("utf-8")
    assert name in json.dumps(json.loads((folder / "verdict.json").read_text("utf-8")), ensure_ascii=False).replace(
        r"\\", "\\"
    )


def test_nothing_is_complained_of(compared):
    assert compared[2] == ""


def test_control_characters_are_written_out(capsys):
    assert visible("a\x1b[31m\nb\tü") == "a\\x1b[31m\\nb\\tü"
    print_table(Console(width=80), ["a[b]", "n"], [["x\ny", "1"]], title="t[/x]")
    assert "x\\ny" in capsys.readouterr().out


def test_a_narrow_terminal_folds_names_and_not_numbers(capsys):
    print_table(Console(width=60, force_terminal=True, color_system=None), ["arm", "mean"], [["x" * 200, "1,234.5"]])
    printed = capsys.readouterr().out
    assert "1,234.5" in printed and printed.count("x") == 200 and max(map(len, printed.splitlines())) <= 60


def test_lines_to_paste_are_quoted():
    typed = "python -m ppo.train 'env.kwargs={mode: \"schnell über\"}' 'hydra.sweep.dir=out/a b$c' seed=1"
    again = "python -m ppo.train -m 'env.kwargs={mode: \"schnell über\"}' 'hydra.sweep.dir=out/a b$c' seed=2"
    assert with_seeds(typed, "2") == again
    assert with_seeds("python -m ppo.train 'torn", "2") is None


def test_no_name_hides_a_run_but_what_is_no_run_is_not_one(run_folder, tmp_path):
    runs = tmp_path / "runs"
    for seed, name in enumerate(["wandb/first", ".scratch/run", "Läufe [und] Tests", "sweep/.attempts/kl=exact.1"]):
        run_folder([1.0], name=name, seed=seed)
    inside = run_folder([1.0], name="plain") / "wandb" / "offline-run" / "files"
    inside.mkdir(parents=True)
    (inside / "run.json").write_text("{}")
    found = {str(folder.relative_to(runs)) for folder in run_folders(runs)}
    assert found == {"wandb/first", ".scratch/run", "Läufe [und] Tests", "plain"}
    assert len(load([runs])) == 4


NOWHERE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.modules.pop("fcntl", None)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def poor_machine(table, tmp_path):
    """A command that compares a table into ``tmp_path/out``, and an environment without UTF-8, file locks, matplotlib."""
    (tmp_path / "stubs").mkdir()
    (tmp_path / "stubs" / "sitecustomize.py").write_text(NOWHERE)
    path = table([("Läufer", arm, seed, 1, seed + 9.5 * len(arm)) for arm in ("größer", "学") for seed in range(5)])
    root = Path(__file__).parents[2]
    poor = {"PYTHONPATH": f"{tmp_path / 'stubs'}{os.pathsep}{root}", "LC_ALL": "C", "PATH": os.environ["PATH"]}
    command = [sys.executable, str(root / "scripts" / "compare_runs.py"), str(path), "--out", str(tmp_path / "out")]
    return command, poor | {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_a_poor_machine_compares_a_table(poor_machine, tmp_path):
    command, poor = poor_machine
    done = subprocess.run(command, env=poor, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"gr??er" in done.stdout and done.stderr == b""
    assert "größer is higher than 学" in (tmp_path / "out" / "verdict.json").read_text("utf-8")
    assert "学" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_a_reader_who_closes_the_pipe_loses_no_file(poor_machine, tmp_path):
    command, poor = poor_machine
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, env=poor, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert b"Traceback" not in done.stderr and (tmp_path / "out" / "report.html").exists()
