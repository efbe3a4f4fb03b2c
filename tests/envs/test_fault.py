"""What an environment's own code raises comes as one line, wherever and whenever: with its place, the whole beside it."""

import pickle
import re
from contextlib import closing
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs import fault
from envs.base import EnvError
from envs.fault import keep, place, raised
from envs.vector import vector
from tests.envs import toy
from tests.envs.toy import Misread

LINE = next(n for n, text in enumerate(Path(toy.__file__).read_text().splitlines(), 1) if '{}["left_foot"]' in text)


def played(what: str, workers: int) -> None:
    """An environment's life, from making to closing."""
    env = vector(partial(Misread, what=what), 3, workers, "Misread")
    try:
        env.reset(0)
        for _ in range(4):
            env.step(np.zeros((3, 2)))
        assert env.render(1).tolist() == np.full((2, 3, 3), 4).tolist() and env.fps == 25
    finally:
        env.close()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "what", ["reset", "step", *(pytest.param(x, marks=pytest.mark.slow) for x in ("constructor", "render", "close"))]
)
def test_an_exception_is_one_line_with_its_place(what, workers):
    with pytest.raises(EnvError, match=r"Misread: .*sub-environment 1\b.*raised KeyError: 'left_foot'") as error:
        played(what, workers)
    assert f"{toy.__file__}:{LINE} in _fail" in str(error.value) and "\n" not in str(error.value)
    assert 'in _fail\n    {}["left_foot"]' in error.value.traceback


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "what, says",
    [
        (
            "old reset",
            r"\(seed \d+, step 0 of its episode\): reset\(\) returned an array of shape \(3,\), as gym's old",
        ),
        ("shape", r"step 3 of its episode\): step\(\): observation has shape \(1,\), its space says \(3,\)"),
        ("exit", r"step 3 of its episode\): step\(\) raised SystemExit: the simulator gives up"),
    ],
)
def test_what_does_not_fit_names_the_sub_environment_and_the_step(what, says, workers):
    with pytest.raises(EnvError, match=f"Misread: sub-environment 1 .*{says}"):
        played(what, workers)


def test_what_close_raises_does_not_hide_what_went_wrong_before(capsys):
    env = vector(partial(Misread, what="close"), 2, 0, "Misread")
    with pytest.raises(ValueError, match="first"), closing(env):
        raise ValueError("first")
    assert "close() of sub-environment 1 raised KeyError" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_what_close_raises_undoes_nothing_that_was_done(workers, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with fault.closing(vector(partial(Misread, what="close"), 2, workers, "Misread")) as env:
        env.reset(0)
    (said,) = capsys.readouterr().err.splitlines()
    assert "close() of sub-environment 1 raised KeyError" in said and said.endswith(".txt")


def test_the_place_is_in_the_environment_and_not_in_a_library_that_it_calls():
    def environment():
        np.linalg.inv(np.zeros((2, 2)))

    with pytest.raises(np.linalg.LinAlgError) as error:
        environment()
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+ in environment", place(error.value))


def test_the_place_is_found_behind_an_exception_that_gymnasium_raised_anew():
    """gymnasium.make replaces a TypeError by one of its own."""
    gymnasium.register("Unmakeable-v0", Unmakeable)
    with pytest.raises(TypeError) as error:
        gymnasium.make("Unmakeable-v0")
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+ in __init__", place(error.value))


class Unmakeable(gymnasium.Env):
    def __init__(self):
        raise TypeError("no mass given")


def test_the_traceback_is_kept_in_the_folder_or_beside_the_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def failure():
        try:
            {}["left_foot"]
        except KeyError as error:
            return pickle.loads(pickle.dumps(raised("here", error)))  # as it comes from a worker

    (tmp_path / "run").mkdir()
    for folder in (tmp_path / "run", None):
        error = failure()
        keep(error, folder)
        keep(error, folder)
        path = Path(re.fullmatch(r".* \(.*\); the whole traceback: (\S+)", str(error))[1])
        assert path.parent == (folder or tmp_path) and path.read_text().endswith("KeyError: 'left_foot'\n")
    plain = EnvError("no traceback")
    keep(plain)
    assert str(plain) == "no traceback" and len(list(tmp_path.iterdir())) == 2
