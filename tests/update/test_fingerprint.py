"""What was bound decides which compiled library is used: all that makes a step another program counts, and nothing else."""

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ppo.update.fingerprint import fingerprint, sources

PROGRAM = Path(__file__).with_name("fingerprints.py")


@pytest.fixture(scope="module")
def printed() -> dict:
    """Fingerprints as users have them: here the checks of shapes are around every function."""
    root = PROGRAM.parents[2]
    command = [sys.executable, str(PROGRAM)]
    env = os.environ | {"PYTHONPATH": str(root)}
    return json.loads(subprocess.run(command, cwd=root, env=env, check=True, capture_output=True).stdout)


@pytest.mark.slow
def test_every_choice_makes_another_program_and_the_same_choices_make_the_same(printed):
    steps = printed["steps"]
    digests = list(steps.values())
    assert not [name for name, digest in steps.items() if digests.count(digest) > 1]
    assert printed["steps again"] == steps


def test_other_weights_of_a_network_are_no_other_program(printed):
    assert printed["other weights"] == printed["steps"]["nothing"]


def test_runs_that_differ_in_numbers_share_a_compiled_step_and_those_of_other_choices_do_not(printed):
    """Schedules, seeds, limits, coefficients and how advantages are normalised are no part of the step."""
    assert set(printed["runs of other numbers"].values()) == {printed["run"]}
    others = printed["runs of other choices"]
    assert len({printed["run"], *others.values()}) == 1 + len(others)


def closing_over(*values):
    return lambda: values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((1.0, 2.0), (2.0, 1.0), id="order"),
        pytest.param((sorted, sum, sorted), (sorted, sum, sum), id="repetition"),
        pytest.param(((1, 2), 3), ((1,), 2, 3), id="nesting"),
        pytest.param([np.float32(1)], [np.float32(2)], id="scalar"),
        pytest.param([np.arange(3)], [np.arange(3) + 1], id="array"),
        pytest.param([torch.zeros(2)], [torch.tensor([0.0, 1.0])], id="tensor"),
        pytest.param([slice(1)], [slice(2)], id="slice"),
        pytest.param([{"a": 1}], [{"a": 2}], id="dict"),
        pytest.param([partial(max, key=abs)], [partial(max, key=len)], id="partial"),
        pytest.param([partial(max, key=abs), partial(max, default=1)], [partial(max, key=abs), partial(max, default=2)],
                     id="second partial"),
        pytest.param([lambda x, y: x - y], [lambda x, y: y - x], id="lambda"),
        pytest.param([torch.sum], [torch.mean], id="builtin"),
        pytest.param([torch], [np], id="module"),
    ],
)  # fmt: skip
def test_what_a_function_closes_over_counts(one, other):
    assert fingerprint(closing_over(*one)) != fingerprint(closing_over(*other))
    assert fingerprint(closing_over(*one)) == fingerprint(closing_over(*one))


class Scaled(torch.nn.Module):
    """What a person keeps in a network of their own: options as attributes, constants as buffers."""

    def __init__(self, scale: float, constant: float):
        super().__init__()
        self.weight, self._scale = torch.nn.Parameter(torch.randn(2)), scale
        self.register_buffer("constant", torch.full((2,), constant))


def test_what_a_network_keeps_beside_its_parameters_counts_whatever_its_name():
    same = [fingerprint(closing_over(Scaled(1.0, 1.0))) for _ in range(2)]  # of other weights
    assert same[0] == same[1]
    assert len({same[0], *(fingerprint(closing_over(Scaled(*x))) for x in ((2.0, 1.0), (1.0, 2.0)))}) == 3


def test_constants_of_a_module_of_ones_own_count_wherever_they_were_read(package):
    """The tracer writes down what TAU is when it looks; the source says os.environ[...]."""
    aim = importlib.import_module("users_package.aims").aim
    numbers = importlib.import_module("users_package.numbers")
    before = fingerprint(closing_over(aim))
    numbers.AWAY = object()  # what is no number says nothing
    assert fingerprint(closing_over(aim)) == before
    numbers.SCALE = 3.0
    assert fingerprint(closing_over(aim)) != before


def test_a_loop_of_references_ends():
    values = []
    values.append(values)
    assert fingerprint(closing_over(values)) == fingerprint(closing_over(values))


# The source


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package as a user has it: an objective, the modules it takes a function and a number from, and one beside it."""
    folder = tmp_path / "users_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "numbers.py").write_text("SCALE = 2.0\n")
    (folder / "parts.py").write_text("from .numbers import SCALE\n\ndef scaled(x):\n    return SCALE * x\n")
    (folder / "beside.py").write_text("UNRELATED = 1\n")
    (folder / "aims.py").write_text(
        "from users_package.parts import scaled\n\n"
        "def aim(log_ratio, advantage, low, high, *, by: float = 1.0):\n    return scaled(by * log_ratio * advantage)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("users_package.beside")
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("edited", ["aims", "parts", "numbers"])
def test_an_edited_module_of_a_users_package_makes_another_program(package, edited, bound):
    """Also one from which only a number is taken; and no other module."""
    aim = importlib.import_module("users_package.aims").aim
    step = closing_over(partial(aim, by=2.0) if bound else aim)
    before = fingerprint(step)
    (package / "beside.py").write_text("UNRELATED = 2\n")
    assert fingerprint(step) == before
    path = package / f"{edited}.py"
    path.write_text(path.read_text().replace("2.0", "3.0") + "\n# another\n")
    assert fingerprint(step) != before


def test_the_sources_of_a_users_package_are_what_is_loaded_of_it(package):
    def now():
        return sources(["users_package", "torch", "nobodys"])

    importlib.import_module("users_package.aims")
    before = now()
    assert before.keys() == {"users_package"} and now() == before
    (package / "parts.py").write_text("from .numbers import SCALE\n\ndef scaled(x):\n    return SCALE + x\n")
    edited = now()
    (package / "never_imported.py").write_text("A = 1\n")
    assert now() == edited != before


def test_what_a_package_imports_of_ours_is_not_its_source(package, monkeypatch):
    importlib.import_module("ppo.loss.objective")
    (package / "beside.py").write_text("from ppo.loss import objective\n")
    before = sources(["users_package"])
    monkeypatch.setattr("ppo.loss.objective.__file__", str(package / "aims.py"))
    assert sources(["users_package"]) == before


def test_an_option_of_a_users_function_makes_another_program(package):
    aim = importlib.import_module("users_package.aims").aim
    assert len({fingerprint(partial(aim, by=by)) for by in (1.0, 2.0, 3.0)}) == 3
