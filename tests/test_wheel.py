"""A wheel built from this repository is all of it: nothing is read from the checkout, and nothing is written beside it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("conf", "envs", "ppo")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def files() -> set[str]:
    """What the packages hold, as paths from the root."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what a wheel would install, built from a copy, since building leaves things behind."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "LICENSE", *files()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run([sys.executable, "-c", BUILD, out], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def test_everything_in_the_packages_is_in_the_wheel(installed):
    shipped = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {name for name in shipped if ".dist-info/" not in name} == files()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_trains_and_sweeps_from_another_folder(installed, tmp_path):
    env = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def python(*words: str) -> str:
        return subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, check=True, text=True, stdout=-1).stdout

    assert Path(python("-c", "import ppo; print(ppo.__path__[0])").strip()).parent == installed
    small = ["logger=none", "compile=false", "num_envs=2", "num_steps=64", "total_steps=256", "eval.episodes=1"]
    python("-m", "ppo.train", "env=gym", "env.id=Pendulum-v1", *small)
    python("-m", "ppo.train", "-m", "seed=1,2", "env=probe", *small)
    runs = [json.loads(path.read_text()) for path in (tmp_path / "outputs").glob("*/**/run.json")]
    assert len(runs) == 3
