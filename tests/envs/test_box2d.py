"""Gymnasium's walker, whose episodes are determined by their seeds and actions."""

import numpy as np
import pytest

from envs.action import random_actions
from ppo.config.options import option

pytest.importorskip("Box2D", reason="needs gymnasium's box2d tasks")


def test_an_episode_is_the_same_whatever_was_before_it():
    walkers = option("env", "gym", id="BipedalWalker-v3")
    used, fresh = walkers(4, 0), walkers(4, 0)
    actions = random_actions(used.action_space, (450, 4), np.random.default_rng(1))
    used.reset(1)
    ended = [used.step(action).terminated.copy() for action in actions[:400]]
    assert np.any(ended, 0).all()
    np.testing.assert_array_equal(used.reset(2), fresh.reset(2))
    for action in actions:
        np.testing.assert_array_equal(used.step(action).next_obs, fresh.step(action).next_obs)
    again = walkers(4, 0)
    np.testing.assert_array_equal(again.set_state(used.state()), used._arena.step.obs)
    for env in (used, fresh, again):
        env.close()
