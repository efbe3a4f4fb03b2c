import numpy as np
import pytest
from gymnasium.spaces import Discrete

from envs.base import EnvError
from envs.gym import remember
from ppo.config.options import option
from tests.envs.toy import Counter


def gym(num_envs, workers, **given):
    return option("env", "gym", **given)(num_envs, workers)


def mujoco(num_envs, workers, **given):
    return option("env", "mujoco", **given)(num_envs, workers)


def test_pendulum_is_truncated_by_its_clock_without_junk_rows():
    env = gym(2, 0, id="Pendulum-v1")
    env.reset(0)
    for t in range(1, 402):
        step = env.step(np.zeros((2, 1)))
        assert (step.truncated == (t % 200 == 0)).all() and not step.terminated.any()
        assert (step.episode_length == (200 if t % 200 == 0 else 0)).all()
        # A pendulum at rest angle moves: an ignored action would repeat the observation.
        assert (step.next_obs[:, 2] != 0).all()
    env.close()


def test_kwargs_reach_the_environment():
    light, heavy = (gym(1, 0, id="Pendulum-v1", kwargs={"g": g}) for g in (1.0, 20.0))
    for env in (light, heavy):
        env.reset(0)
    assert light.step(np.zeros((1, 1))).obs[0, 2] != heavy.step(np.zeros((1, 1))).obs[0, 2]


@pytest.mark.parametrize(
    "id, kwargs, says",
    [
        ("Nope-v0", {}, "doesn't exist"),
        ("Pendulum-v1", {"colour": 1}, "colour"),
        ("nowhere:Thing-v0", {}, "nowhere"),
        (
            "FetchReach-v4",
            {},
            "a task of another package: env.id=PACKAGE:FetchReach-v4, with the package that registers it$",
        ),
        ("dm_control/cartpole-swingup-v0", {}, "env.id=PACKAGE:dm_control/cartpole"),
        ("Halfcheetah-v5", {}, r"Did you mean: `HalfCheetah`\?$"),
    ],
)
def test_what_cannot_be_made_ends_in_one_line(id, kwargs, says):
    with pytest.raises(EnvError, match=says) as error:
        gym(1, 0, id=id, kwargs=kwargs)
    assert "\n" not in str(error.value) and id in str(error.value)


def test_mujoco_takes_v5_only():
    with pytest.raises(EnvError, match="v5"):
        mujoco(1, 0, id="Ant-v4")


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "Hopper-v5"])
def test_a_mujoco_state_continues_bit_for_bit(id):
    pytest.importorskip("mujoco")
    env, other = (mujoco(2, 0, id=id) for _ in range(2))
    rng = np.random.default_rng(0)
    env.reset(3)
    for _ in range(150):
        env.step(rng.uniform(-1, 1, (2, *env.action_space.shape)))
    other.set_state(env.state())
    for _ in range(50):
        action = rng.uniform(-1, 1, (2, *env.action_space.shape))
        for x, y in zip(env.step(action), other.step(action)):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("workers", [0, 2])
def test_discrete_actions_reach_the_environment_as_numbers_and_replay(workers):
    """CartPole refuses what is not an action of its own; a state replayed elsewhere continues with the same rows."""
    ours, other = (gym(3, w, id="CartPole-v1") for w in (workers, 0))
    try:
        assert ours.action_space == Discrete(2)
        ours.reset(0), other.reset(1)
        actions = np.random.default_rng(0).integers(0, 2, (40, 3))
        for action in actions[:25]:
            ours.step(action)
        np.testing.assert_array_equal(other.set_state(ours.state()), ours.set_state(ours.state()))
        for action in actions[25:]:
            np.testing.assert_array_equal(ours.step(action).obs, other.step(action).obs)
    finally:
        ours.close(), other.close()


def test_an_environment_that_only_draws_pictures_gets_a_window(monkeypatch):
    """As gymnasium.make gives one; here, to a class of a Python program."""
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("envs.gym.check_window", lambda mode: None)
    monkeypatch.setattr("envs.gym._MADE", {})

    class Painter(Counter):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 200}  # noqa: RUF012

        def __init__(self, render_mode=None):
            super().__init__(0)
            self.render_mode, self.spec = render_mode, None

        def render(self):
            Painter.drawn += 1
            return np.zeros((8, 8, 3), np.uint8)

    Painter.drawn = 0
    env = option("env", "python", name=remember(Painter), render_mode="human")(1, 0)
    env.reset(0)
    env.step(np.zeros((1, 2)))
    env.close()
    assert Painter.drawn == 2
    Painter.metadata = {"render_modes": []}
    with pytest.raises(EnvError, match='needs "rgb_array" there'):
        option("env", "python", name=remember(Painter), render_mode="human")(1, 0)
