from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("pybullet")

from envs.base import EnvError
from envs.bullet.ant import ANT
from envs.bullet.locomotion import Locomotion
from ppo.config.options import option

ROBOTS = ["hopper", "walker2d", "halfcheetah", "ant", "humanoid"]


def make(robot):
    return import_module(f"envs.bullet.{robot}").make()


def play(env, steps, seed):
    rng = np.random.default_rng(seed)
    return [env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))[:3] for _ in range(steps)]


def same(a, b):
    return all(np.array_equal(x, y) and rest == rest_ for (x, *rest), (y, *rest_) in zip(a, b, strict=True))


@pytest.mark.parametrize("robot", ROBOTS)
def test_an_episode_is_the_same_whatever_came_before(robot):
    used = make(robot)
    # The order in which shapes met matters rarely, and most on the humanoid, whose limbs touch each other.
    for trial in range(12 if robot == "humanoid" else 2):
        used.reset(seed=trial)
        play(used, 60 + trial, trial)
        fresh = make(robot)  # a second world in this process
        np.testing.assert_array_equal(used.reset(seed=trial)[0], fresh.reset(seed=trial)[0])
        assert same(play(used, 120, 1000 + trial), play(fresh, 120, 1000 + trial))
        np.testing.assert_array_equal(used.reset()[0], fresh.reset()[0])
        fresh.close()
    used.close()


def test_reset_draws_a_new_start():
    env = make("ant")
    starts = [env.reset(seed=0)[0], env.reset()[0], env.reset(seed=1)[0]]
    assert not np.array_equal(starts[0], starts[1]) and not np.array_equal(starts[0], starts[2])
    env.close()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_action_is_refused_before_the_physics(value):
    env, twin = make("hopper"), make("hopper")
    for e in (env, twin):
        e.reset(seed=0)
    with pytest.raises(EnvError, match="not finite"):
        env.step(np.array([0, value, 0], np.float32))
    assert same(play(env, 5, 0), play(twin, 5, 0))


def test_the_wrong_shape_is_refused():
    env = make("hopper")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="shape"):
        env.step(np.zeros(4, np.float32))


def test_a_missing_model_and_a_wrong_table_are_clear_errors():
    with pytest.raises(EnvError, match="no such model file.*spider.xml"):
        Locomotion(ANT._replace(file="spider.xml"))
    with pytest.raises(EnvError, match="hip_1"):
        Locomotion(ANT._replace(joints={"hip_1": 100.0}))


def test_close_twice_and_use_after_close():
    env = make("ant")
    env.reset(seed=0)
    env.close()
    env.close()
    for use in (lambda: env.step(np.zeros(8, np.float32)), env.reset):
        with pytest.raises(EnvError, match="closed"):
            use()


def test_one_command_makes_the_vector():
    env = option("env", "ant")(2, 0)
    assert env.name == "AntBullet" and env.reset(0).shape == (2, 28)
    env.close()


def test_an_unknown_render_mode():
    with pytest.raises(EnvError, match="rgb_array"):
        Locomotion(ANT, "ascii")
