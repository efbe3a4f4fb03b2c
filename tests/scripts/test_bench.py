"""The benchmark's own arithmetic, and one small run of its command line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo.config.check import bind
from scripts.benchmarks import process, table, train, vecenv
from scripts.benchmarks.table import Row
from scripts.benchmarks.workloads import WORKLOADS, pick

ROOT = Path(__file__).parents[2]


def test_a_row_is_the_median_with_the_extremes():
    (row,) = table.rows("train", "W1", "step/s", {"a": [3.0, 1.0, 2.0]}, None, more_is_better=True)
    assert row == Row("train", "W1", "a", 2.0, "step/s", 1.0, 3.0, None)


def test_ratios_are_taken_within_a_round():
    """The machine slows down tenfold in the second round: in each round ours is 4 and 6 times as fast all the same."""
    samples = {"ours": [400.0, 60.0, 500.0], "peer": [100.0, 10.0, 100.0]}
    ours, peer = table.rows("train", "W1", "step/s", samples, "peer", more_is_better=True)
    assert ours.ratio == 5.0 and peer.ratio == 1.0


def test_ratios_above_one_are_better_where_less_is_better_too():
    ours, _ = table.rows("update", "x", "µs", {"ours": [2.0, 2.0], "peer": [10.0, 8.0]}, "peer", more_is_better=False)
    assert ours.ratio == 4.5


def test_failed_measurements_are_left_out_of_medians_and_ratios():
    samples = {"ours": [8.0, 9.0, None], "peer": [2.0, None, 5.0], "broken": [None, None, None]}
    ours, peer = table.rows("train", "W1", "step/s", samples, "peer", more_is_better=True)
    assert (ours.value, ours.ratio, peer.value) == (8.5, 4.0, 3.5)


def test_the_fastest_peer_is_the_one_with_the_best_median():
    samples = {"ours": [9.0], "a": [1.0, 2.0, 99.0], "b": [3.0, 3.0, 3.0], "c": [None]}
    assert table.fastest(samples, ["a", "b", "c", "absent"], more_is_better=True) == "b"
    assert table.fastest(samples, ["a", "b", "c", "absent"], more_is_better=False) == "a"
    assert table.fastest(samples, ["c"], more_is_better=True) is None


@pytest.mark.parametrize(
    "x, text", [(0.0, "0"), (8.94e-8, "8.9e-08"), (0.512, "0.512"), (5.3217, "5.32"), (123.4, "123"), (7060.4, "7,060")]
)
def test_numbers_are_short(x: float, text: str):
    assert table.number(x) == text


def test_the_table_is_markdown_with_a_line_a_row():
    lines = table.table(
        [Row("train", "W1", "ours", 7060, "step/s", 7000, 7100, 8.02), Row("m", "W", "x", 1, "MB", 1, 1)]
    ).splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("train", "W1", "ours", "7,060", "7,000", "7,100", "step/s", "8.02x"),
    ]
    assert lines[3].split("|")[-2].strip() == ""


def test_json_rows_have_the_promised_keys(tmp_path: Path):
    table.write([Row("train", "W1", "ours", 2.0, "step/s", 1.0, 3.0)], tmp_path / "new" / "rows.json")
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == [
        {"bench": "train", "workload": "W1", "name": "ours", "value": 2.0, "unit": "step/s"}
        | {"low": 1.0, "high": 3.0, "ratio": None}
    ]


def test_programs_take_turns_and_a_broken_one_is_tried_once():
    turns = []

    def program(name: str, speed: float | None):
        def measure(workload, iterations, timeout):
            turns.append(name)
            return "no such thing" if speed is None else train.Sample(speed * len(turns), 100.0)

        return measure

    measures = {"exactkl": program("exactkl", 10.0), "a": program("a", 2.0), "b": program("b", None)}
    (rows,) = train.bench([WORKLOADS["W1"]], measures, repeats=3, iterations=2)
    assert turns == ["exactkl", "a", "b", "exactkl", "a", "exactkl", "a"]
    assert [(row.bench, row.name) for row in rows] == [
        *(("train", "exactkl"), ("train", "a"), ("memory", "exactkl"), ("memory", "a")),
    ]
    assert rows[1].ratio == 1.0 and rows[2].ratio == 1.0


def test_no_time_left_starts_nothing():
    def measure(workload, iterations, timeout):
        raise AssertionError("started")

    assert list(train.bench([WORKLOADS["W1"]], {"a": measure}, repeats=1, iterations=2, deadline=time.monotonic())) == [
        []
    ]


def test_workloads_divide_into_minibatches():
    assert not [name for name, w in WORKLOADS.items() if w.batch % w.minibatch]


@pytest.mark.parametrize("name", WORKLOADS)
def test_our_recipe_is_accepted_by_the_configuration(shipped, name):
    """Every word exists, and the values arrive as they are meant."""
    w = WORKLOADS[name]
    cfg = shipped(*train.recipe(w))
    bind(cfg)
    assert cfg.num_envs * cfg.num_steps == w.batch and list(cfg.network.actor) == w.hidden
    assert (cfg.lr.value, cfg.clip.eps, cfg.network.log_std) == (w.lr, w.clip, w.log_std)
    assert cfg.stop._target_ == "ppo.control.stop.none", "an update that ends early is faster than those of the peers"


@pytest.mark.parametrize("name", vecenv.WORKLOADS)
def test_behind_rsl_rls_interface_advantages_are_normalised_as_rsl_rl_does_it(shipped, name):
    cfg = shipped(*vecenv.like(vecenv.WORKLOADS[name]))
    assert cfg.norm._target_ == "ppo.loss.norm.global" and cfg.stop._target_ == "ppo.control.stop.none"


def test_an_unknown_name_ends_the_program_with_what_there_is():
    with pytest.raises(SystemExit, match="W9: choose from W1"):
        pick("W1,W9", WORKLOADS)
    assert list(pick("W2,W1", WORKLOADS)) == ["W2", "W1"] and pick("", WORKLOADS) == {}


@pytest.mark.slow
def test_a_program_is_killed_with_its_children_when_its_time_is_over(tmp_path: Path):
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    done = process.run([sys.executable, "-c", script], {}, timeout=4)  # a busy machine is slow to start two Pythons
    assert done.error == "not done after 4 s"
    child = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 20
    while _alive(child):  # it dies a moment after the signal
        assert time.monotonic() < end
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_failure_is_told_by_its_last_line():
    done = process.run([sys.executable, "-c", "print('{}'); raise ValueError('no such world')"], {}, timeout=30)
    assert done.error == "ValueError: no such world" and done.out == "{}\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_counts_children():
    alone = process.memory(os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(60_000_000); print('ready', flush=True); input()"],
        **dict.fromkeys(("stdin", "stdout"), subprocess.PIPE),
    )
    child.stdout.readline()
    assert process.memory(os.getpid()) - alone > 60_000_000
    child.communicate(b"\n")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc")
def test_memory_counts_once_what_processes_have_in_common(tmp_path: Path):
    (tmp_path / "library").write_bytes(os.urandom(40_000_000))
    child = "import mmap; f = open('library', 'r+b'); x = mmap.mmap(f.fileno(), 0); x.find(b'no such bytes here')"
    script = f"""
import subprocess, sys
{child}
pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
other = subprocess.Popen([sys.executable, "-c", {child + "; print('ready', flush=True); input()"!r}], **pipes)
other.stdout.readline()
print("ready", flush=True)
input()
other.communicate(b"\\n")
"""
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    both = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, **pipes)
    both.stdout.readline()
    assert 40_000_000 < process.memory(both.pid) < 80_000_000
    both.communicate(b"\n")


@pytest.mark.slow
def test_the_command_line_measures_a_step_and_writes_rows(tmp_path: Path):
    """Eager only, one round: the compiler alone would take longer than all tests here."""
    command = [sys.executable, "scripts/bench.py", "update", "--quick", "--repeats", "1", "--eager"]
    done = subprocess.run(
        [*command, "--workloads", "64x64-64", "--json", str(tmp_path / "rows.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    rows = {(r["bench"], r["name"]): r for r in json.loads((tmp_path / "rows.json").read_text())}
    assert set(rows) == {
        *(("update", "cleanrl_form, eager"), ("update", "exactkl, eager"), ("update-difference", "exactkl, eager")),
    }
    assert rows["update", "exactkl, eager"]["value"] > 0
    assert rows["update-difference", "exactkl, eager"]["value"] < 1e-6
    assert "| update " in done.stdout and "torch" in done.stdout
