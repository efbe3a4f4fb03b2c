"""The soak sees what grows, and says so by its exit code."""

import mmap
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scripts import soak
from scripts.soak import Sample, sample, slope

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")


def test_an_open_file_and_a_block_of_memory_are_seen(tmp_path):
    before = sample("self", time.monotonic())
    with (tmp_path / "held").open("w"):
        block = mmap.mmap(-1, 64 * 2**20)  # no memory that was freed before serves it
        block.write(b"x" * len(block))
        after = sample("self", time.monotonic())
        block.close()
    assert after.handles == before.handles + 1 and after.memory - before.memory > 0.9 * 64
    assert sample(2**30, 0.0) is None  # no such process


def test_only_the_second_half_counts():
    x = np.arange(100.0)
    assert slope(x, np.where(x < 50, 1000 * x, 7 + 3 * x)) == pytest.approx(3)


@pytest.mark.parametrize(
    ("grows", "code"), [({}, 0), ({"memory": 2.0}, 1), ({"handles": 1}, 1), ({"threads": 1}, 1)], ids=str
)
def test_growth_is_an_exit_code(monkeypatch, capsys, grows, code):
    flat = {"seconds": 0.0, "memory": 300.0, "handles": 6, "threads": 1}
    seen = [Sample(**{k: v + i * grows.get(k, 0) for k, v in flat.items()}) for i in range(10)]
    monkeypatch.setattr(soak, "many_runs", lambda runs, words: seen)
    monkeypatch.setattr(sys, "argv", ["soak.py", "runs"])
    assert soak.main() == code
    assert "MiB a run" in capsys.readouterr().out
