"""The compiled step is the eager one. In processes of their own, as users run it: without the shape checks."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("compiled.py")


ROOT = PROGRAM.parents[2]


def run(*words: str) -> None:
    python(str(PROGRAM), *words)


def python(*words: str, path: str = "") -> None:
    """A program that ends well and could compile. ``path``: where else it finds packages."""
    cache = str(Path(tempfile.gettempdir()) / f"exactkl-tests-{os.getuid()}")  # kept: compiling again is quicker
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), path))), "XDG_CACHE_HOME": cache}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "compile: failed" not in done.stderr


@pytest.mark.slow
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
        "aspo rate",
        "soft",
        "trpl micro",
        "vmpo",
        "spo huber",
        "truly ratio rpo",
        "none quantile micro",
        "dual huber penalty",
        "gsde penalty pulled",
        "state_std penalty",
        "squash penalty",
        "scalar penalty",
        "categorical penalty",
        "gru penalty micro",
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_function_of_a_trusted_package_that_was_edited_is_compiled_anew(tmp_path):
    """The constant that the edited objective adds has no gradient, but it is in the mean loss of the second run alone."""
    package = tmp_path / "edited_between_runs"
    package.mkdir()
    (package / "__init__.py").touch()
    losses = []
    for constant in ("0.0", "100.0"):
        source = f"def aim(log_ratio, advantage, low, high, *, dual=None):\n    return log_ratio.exp() * advantage + {constant}\n"
        (package / "aims.py").write_text(source)
        folder = tmp_path / f"plus{constant}"
        small = "num_envs=4 num_steps=32 total_steps=128 minibatch_size=32 epochs=2 eval.episodes=0 logger=none"
        words = f"env=probe env.task=target {small} network.actor=[16] network.critic=[16] compile=true".split()
        words += [f"trust=[{package.name}]", f"objective._target_={package.name}.aims.aim"]
        python("-m", "ppo.train", *words, f"hydra.run.dir={folder}", path=str(tmp_path))
        (row,) = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        losses.append(row["loss/policy"])
    assert losses[1] - losses[0] == pytest.approx(-100, rel=1e-5)
