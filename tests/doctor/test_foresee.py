"""What the spaces and the configuration tell before the first step."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from ppo.doctor.foresee import foreseeable

OBS = Box(-np.inf, np.inf, (3,), np.float32)
UNIT = Box(-1.0, 1.0, (2,), np.float32)
CLIP = {"action": {"_target_": "envs.action.clip"}, "network": {"log_std": -1.0}}
TANH = {"action": {"_target_": "envs.action.tanh"}, "network": {"log_std": -1.0}}


def box(low, high):
    return Box(np.array(low, np.float32), np.array(high, np.float32))


@pytest.mark.parametrize(
    ("config", "space", "says"),
    [
        (CLIP, UNIT, None),
        (CLIP, box([5], [35]), "100% of what a new policy wants of action 0 is cut off at [5, 35]"),
        (CLIP, box([5], [35]), "; try action=tanh"),
        (CLIP, box([-1, -2000], [1, 2000]), "action 1 has a range of 4000"),
        (CLIP, box([-1, -0.05], [1, 0.05]), "of action 1 is cut off"),
        (CLIP, box([5], [np.inf]), "action=tanh cannot help"),
        (CLIP, box([0], [np.inf]), None),  # half of a first policy's actions count
        (CLIP, box([-1, 0.5], [1, 0.5]), None),  # nothing to choose, nothing to lose
        (CLIP, Box(-np.inf, np.inf, (2,)), None),
        (CLIP, Discrete(3), None),
        (TANH, box([5, -2000], [35, 2000]), None),
        (TANH, box([5], [np.inf]), "; try action=clip"),
    ],
)
def test_actions(config, space, says):
    said = foreseeable(config, OBS, space)
    assert (says is None and said == []) or (len(said) == 1 and says in said[0]), said


def test_a_wide_policy_is_cut_off_where_a_narrow_one_is_not():
    assert foreseeable(CLIP, OBS, UNIT) == []
    assert "cut off" in foreseeable({**CLIP, "network": {"log_std": 1.9}}, OBS, UNIT)[0]


def test_observations_that_float32_cannot_tell_apart():
    (line,) = foreseeable(CLIP, box([-1, 1e8], [1, 1e8 + 16]), UNIT)
    assert line.startswith("observation 1 lies in [100000000, 100000016]") and "subtract the offset" in line
    assert foreseeable(CLIP, box([0, 1e8], [1e8, 2e8]), UNIT) == []
    wide = Box(np.float64([-1, 1e8]), np.float64([1, 1e8 + 16]), dtype=np.float64)
    assert "dtype float64, which normalise.obs=true subtracts" in foreseeable(CLIP, wide, UNIT)[0]
    assert foreseeable(CLIP | {"normalise": {"obs": True}}, wide, UNIT) == []


def test_a_picture_is_told_of():
    """It is flattened, and learned from by a perceptron."""
    (line,) = foreseeable(CLIP, Box(0, 255, (210 * 160 * 3,), np.float32), UNIT)
    assert line.startswith("an observation has 100,800 numbers") and "convolutions" in line
    assert foreseeable(CLIP, Box(-1, 1, (348,), np.float32), UNIT) == []


@pytest.mark.parametrize(
    ("norm", "sizes", "alone"),
    [
        ("minibatch", (4, 32, 1), True),
        ("minibatch", (4, 32, 8), False),
        ("group", (4, 1, 4), True),
        ("group", (4, 2, 4), False),
        ("global", (1, 1, 1), True),
        ("global", (4, 1, 1), False),
        ("none", (1, 1, 1), False),
        ("ema", (1, 1, 1), False),
    ],
)
def test_sets_of_one_sample(norm, sizes, alone):
    config = CLIP | dict(zip(("num_envs", "num_steps", "minibatch_size"), sizes, strict=True))
    said = foreseeable(config | {"norm": {"_target_": f"ppo.loss.norm.{norm}"}}, OBS, UNIT)
    assert len(said) == alone and all("try num_steps=128 minibatch_size=64" in line for line in said)
