"""The compiled step is the eager one. In processes of their own: torch.compile cannot trace the shape checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("compiled.py")


def run(*words: str) -> None:
    root = str(PROGRAM.parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *words], cwd=root, env=os.environ | {"PYTHONPATH": path}, text=True, stderr=-1
    )
    assert done.returncode == 0, done.stderr


def test_an_update_compiled_is_the_update_eager():
    """Over two updates with different numbers, the second stopped, some samples masked."""
    run("same")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["k3 penalty", "clipped micro", "k3 clipped penalty micro"])
def test_more_choices_compiled_are_the_same_eager(words):
    run("same", *words.split())


@pytest.mark.slow
def test_sigma_stays_within_its_bounds_for_100_000_adversarial_steps():
    run("sigma")
