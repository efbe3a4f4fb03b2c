"""Wrappers that a configuration puts around an environment."""

import gymnasium
import numpy as np
import pytest

from envs.base import EnvError
from envs.gym import INSTEAD, python, remember
from envs.wrappers import DelayAction, NoisyObservation
from ppo.config.options import ConfigError, option

GYM = "gymnasium.wrappers"
SHOWN = [  # in docs/environments.md
    {"_target_": f"{GYM}.FrameStackObservation", "stack_size": 4},
    {"_target_": f"{GYM}.RepeatAction", "num_repeats": 4},
    {"_target_": f"{GYM}.TimeAwareObservation"},
    {"_target_": f"{GYM}.RescaleAction", "min_action": -1.0, "max_action": 1.0},
    {"_target_": f"{GYM}.StickyAction", "repeat_action_probability": 0.25},
    {"_target_": f"{GYM}.DelayObservation", "delay": 2},
    {"_target_": "envs.wrappers.DelayAction", "steps": 2},
    {"_target_": "envs.wrappers.NoisyObservation", "sigma": 0.01},
]


def pendulum(*wrappers: dict, envs: int = 2, workers: int = 0):
    return option("env", "gym", id="Pendulum-v1", wrappers=list(wrappers))(envs, workers)


@pytest.mark.parametrize("wrapper", SHOWN, ids=lambda w: w["_target_"].rpartition(".")[2])
def test_what_the_page_shows_resumes_to_the_bit(wrapper):
    env, again = pendulum(wrapper), pendulum(wrapper)
    try:
        env.reset(0)
        actions = np.random.default_rng(0).uniform(-1, 1, (12, 2, 1)).astype(np.float32)
        for action in actions[:7]:
            obs = env.step(action).obs
        np.testing.assert_array_equal(again.set_state(env.state()), obs)
        for action in actions[7:]:
            np.testing.assert_array_equal(env.step(action).obs, again.step(action).obs)
    finally:
        env.close(), again.close()


def test_the_last_one_is_outermost_and_workers_have_them_too():
    env = pendulum(SHOWN[2], SHOWN[0], workers=1)
    try:
        assert env.observation_space.shape == (4 * (3 + 1),)
        assert env.reset(0).shape == (2, 16)
    finally:
        env.close()


@pytest.mark.parametrize("name", INSTEAD)
def test_what_a_run_does_itself_is_refused_with_the_word_for_it(name):
    options = {"video_folder": "x"} if name == "RecordVideo" else {}
    with pytest.raises(EnvError, match=f"Pendulum-v1: env.wrappers: {name} .*instead: "):
        pendulum({"_target_": f"{GYM}.{name}", **options})


@pytest.mark.parametrize("wrap", [gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward])
def test_an_environment_that_normalises_inside_is_refused_as_well(wrap):
    """The usual make_env(): evaluations would be in another unit, and no checkpoint has the statistics."""

    def make():
        return gymnasium.wrappers.ClipAction(wrap(gymnasium.make("Pendulum-v1")))

    name = remember(make, f"make {wrap.__name__}")
    with pytest.raises(EnvError, match=f"is wrapped in {wrap.__name__}, .*leave it out, and say normalise"):
        python(1, 0, name=name, wrappers=[], render_mode=None)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"stack_size": 4}, "needed is {_target_"),
        ({"_target_": "os.system"}, "trust="),
        ({"_target_": f"{GYM}.vector.ClipReward"}, "trust="),
        ({"_target_": f"{GYM}.FrameStack"}, "did you mean FrameStackObservation?"),
        ({"_target_": f"{GYM}.FrameStackObservation"}, "stack_size"),
        ({"_target_": f"{GYM}.TimeAwareObservation", "no": 1}, "no"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(entry, said):
    with pytest.raises(ConfigError, match=r"^env.wrappers\[0\]") as error:
        pendulum(entry)
    assert said in str(error.value) and "\n" not in str(error.value)


class Echo(gymnasium.Env):
    """Its observation is the action that it got."""

    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.asarray(action, np.float32), 0.0, False, False, {}


def test_an_action_arrives_late_and_a_reset_forgets_those_on_the_way():
    env = DelayAction(Echo(), steps=2)
    env.reset(seed=0)
    assert [env.step(np.float32([a]))[0][0] for a in (0.25, 0.5, 0.75, 1.0)] == [0, 0, 0.25, 0.5]
    env.reset()
    assert env.step(np.float32([-1]))[0][0] == 0


def test_noise_has_its_deviation_and_stays_in_the_space():
    env = NoisyObservation(Echo(), sigma=0.1)
    env.reset(seed=0)
    noise = np.array([env.step(np.float32([0]))[0][0] for _ in range(4000)])
    assert abs(noise.mean()) < 4 * 0.1 / 4000**0.5 and noise.std() == pytest.approx(0.1, rel=0.05)
    assert max(env.step(np.float32([1]))[0][0] for _ in range(100)) == 1
    for wrong in (-1, [0.1, -0.1]):
        with pytest.raises(ValueError, match="not negative"):
            NoisyObservation(Echo(), sigma=wrong)
