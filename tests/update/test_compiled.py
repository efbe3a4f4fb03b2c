"""The compiled step is the eager one. In processes of their own, as users run it: without the shape checks."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("compiled.py")


def run(*words: str) -> None:
    root = str(PROGRAM.parents[2])
    cache = str(Path(tempfile.gettempdir()) / f"proximal-tests-{os.getuid()}")  # kept: compiling again is quicker
    env = os.environ | {"PYTHONPATH": root, "XDG_CACHE_HOME": cache}
    done = subprocess.run([sys.executable, str(PROGRAM), *words], cwd=root, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "compile: failed" not in done.stderr


def test_an_update_compiled_is_the_update_eager():
    """Over two updates with different numbers, the second stopped, some samples masked."""
    run("same")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words",
    [
        "k3 penalty",
        "clipped micro",
        "spo huber",
        "truly ratio rpo",
        "none quantile micro",
        "dual huber penalty",
        "gsde penalty pulled",
        "state_std penalty",
        "squash penalty",
        "categorical penalty",
    ],
)
def test_more_choices_compiled_are_the_same_eager(words):
    run("same", *words.split())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_compiled_and_eager_stay_together():
    run("runs")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sigma_stays_within_its_bounds_for_100_000_adversarial_steps():
    run("sigma")
