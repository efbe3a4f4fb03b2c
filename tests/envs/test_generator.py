"""Random generators of every kind: saved exactly where that is possible, else said to be not."""

import json
import random
from functools import partial

import numpy as np
import pytest
import torch

from envs.base import EnvError, NoState
from envs.generator import Globals
from envs.vector import vector
from tests.envs.toy import GlobalRng, OtherRng


@pytest.mark.parametrize("played", [2, 5])  # within the first episode, and within the second
@pytest.mark.parametrize("kind", ["RandomState", "Philox", "MT19937", "SFC64", "PCG64DXSM"])
def test_every_generator_of_numpy_continues_bit_for_bit(kind, played):
    env, other = (vector(partial(OtherRng, kind=kind), 2, 0, kind) for _ in range(2))
    plan = np.random.default_rng(0).uniform(-1, 1, (played + 7, 2, 2))
    env.reset(3)
    for action in plan[:played]:
        env.step(action)
    other.set_state(json.loads(json.dumps(env.state())))
    for action in plan[played:]:
        np.testing.assert_array_equal(env.step(action).obs, other.step(action).obs)


def test_a_state_that_cannot_be_saved_is_said_once(capsys):
    env = vector(partial(OtherRng, kind="random"), 2, 0, "unknown generator")
    env.reset(3)
    env.state()  # the first episode is the seed's
    for _ in range(4):
        env.step(np.zeros((2, 2)))
    for _ in range(2):
        with pytest.raises(NoState, match="sub-environment 0: .* its np_random is a random.Random"):
            env.state()
    said = capsys.readouterr().err
    assert said.count("unknown generator: sub-environment 0") == 1 and "exact_resume=false" in said


def test_the_process_s_own_generators_are_named(capsys):
    before = Globals.now()
    np.random.default_rng().normal()
    assert before.used() == []
    np.random.normal(), random.random()  # noqa: NPY002
    assert before.used() == ["np.random", "random"]
    before = Globals.now()
    torch.randn((), generator=torch.Generator())
    assert before.used() == []
    torch.randn(())
    assert before.used() == ["torch's global generator"]

    env = vector(GlobalRng, 2, 0, "global generator")
    env.reset(0)
    assert "global generator: it draws from np.random" in capsys.readouterr().err
    with pytest.raises(EnvError, match="another observation .* draws from np.random"):
        env.set_state(env.state())
