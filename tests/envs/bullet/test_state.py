"""A run of any task goes on bit for bit in a fresh process."""

import json

import numpy as np
import pytest

pytest.importorskip("pybullet")

from ppo.config.options import option


@pytest.mark.parametrize("task", ["halfcheetah", "humanoid", "inverted_double_pendulum", "reacher"])
def test_state_continues_in_another_process(task):
    here, there = option("env", task)(2, 0), option("env", task)(2, 1)
    rng = np.random.default_rng(0)
    size = (2, *here.action_space.shape)
    here.reset(3)
    for _ in range(170):  # past the first episode's end
        obs = here.step(rng.uniform(-1, 1, size)).obs
    np.testing.assert_array_equal(there.set_state(json.loads(json.dumps(here.state()))), obs)
    for _ in range(60):
        action = rng.uniform(-1, 1, size)
        for a, b in zip(here.step(action), there.step(action)):
            np.testing.assert_array_equal(a, b)
    here.close()
    there.close()
