import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("pybullet")

import envs  # noqa: F401 - registers the ids

IDS = sorted(id for id in gymnasium.registry if id.startswith("envs/") and id.endswith("Bullet-v0"))


def test_all_tasks_are_there():
    names = "Ant HalfCheetah Hopper Humanoid InvertedDoublePendulum InvertedPendulum InvertedPendulumSwingup Reacher Walker2D"
    assert {f"envs/{name}Bullet-v0" for name in names.split()} <= set(IDS)


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_has_nothing_to_say(id):
    env = gymnasium.make(id, disable_env_checker=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*minimum value is -infinity")
        warnings.filterwarnings("ignore", message=".*maximum value is infinity")
        warnings.filterwarnings("ignore", message=".*human.*")  # needs a screen
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("id", IDS)
def test_the_camera_sees_the_robot(id):
    env = gymnasium.make(id, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (240, 320, 3) and before.dtype == np.uint8
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 20
    for _ in range(10):
        env.step(np.ones(env.action_space.shape, np.float32))
    assert (env.render() != before).any()
    env.close()


def test_rendering_does_not_disturb_the_physics():
    seen, unseen = (gymnasium.make("envs/AntBullet-v0", render_mode=mode) for mode in ("rgb_array", None))
    for env in (seen, unseen):
        env.reset(seed=0)
    for _ in range(10):
        action = np.full(8, 0.3, np.float32)
        (a, *_), (b, *_) = seen.step(action), unseen.step(action)
        np.testing.assert_array_equal(a, b)
        seen.render()
    seen.close()
    unseen.close()
