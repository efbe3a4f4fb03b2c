"""C steps gymnasium's robots as gymnasium does, to the bit; and where it cannot, gymnasium does it."""

import ctypes
import importlib.util

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco

from envs import native
from envs.base import EnvError, NotFinite
from envs.mujoco import share, tasks
from ppo.config.options import option

IDS = [
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Humanoid-v5",
    "Swimmer-v5",
    "InvertedPendulum-v5",
]

pytestmark = pytest.mark.skipif(native.load(share._SOURCE) is None, reason="no C compiler")


@pytest.fixture
def robots(monkeypatch):
    """A factory of vectors; ``ours=False``: as on a machine without a compiler. They are closed after the test."""
    made = []

    def make(id="HalfCheetah-v5", num_envs=3, *, workers=0, ours=True, **given):
        with monkeypatch.context() as there:
            if not ours:
                there.setattr(share, "load", lambda source: None)
            made.append(option("env", "mujoco", id=id, **given)(num_envs, workers))
        if not workers:
            assert (made[-1]._crew._together is not None) == ours
        return made[-1]

    yield make
    while made:  # not kept either: a vector's arrays hold its shared block
        made.pop().close()


def actions(env, steps, seed=0):
    box = env.action_space
    return np.random.default_rng(seed).uniform(box.low, box.high, (steps, env.num_envs, *box.shape)).astype(box.dtype)


def played(env, plan) -> list[list[bytes]]:
    return [[field.tobytes() for field in env.step(action)] for action in plan]


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) if id == "Humanoid-v5" else id for id in IDS])
def test_every_number_of_3000_steps_is_gymnasiums(robots, id):
    ours, theirs = robots(id), robots(id, ours=False)
    plan = actions(ours, 1010)
    np.testing.assert_array_equal(ours.reset(3), theirs.reset(3))
    ended = 0
    for action in plan:
        step, like = ours.step(action), theirs.step(action)
        for x, y in zip(step, like, strict=True):
            np.testing.assert_array_equal(x, y)
        ended += int(step.terminated.sum() + step.truncated.sum())
    assert ended >= 3 and (id not in ("HalfCheetah-v5", "Swimmer-v5") or step.group.tolist() == [0, 1, 2])


@pytest.mark.parametrize(
    "id, kwargs",
    [
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}),
        ("Ant-v5", {"contact_cost_weight": 0.1, "healthy_reward": 0.5}),
        ("Walker2d-v5", {"forward_reward_weight": 2.0, "ctrl_cost_weight": 0.2, "reset_noise_scale": 0.1}),
        ("Humanoid-v5", {"include_cinert_in_observation": False, "include_qfrc_actuator_in_observation": False}),
    ],
)
def test_what_its_options_change_is_the_same_to_the_bit(robots, id, kwargs):
    ours, theirs, plain = robots(id, kwargs=kwargs), robots(id, kwargs=kwargs, ours=False), robots(id)
    plan = actions(ours, 150)
    ours.reset(3), theirs.reset(3), plain.reset(3)
    record = played(ours, plan)
    assert record == played(theirs, plan) and record != played(plain, plan)


def test_robots_of_different_options_step_by_themselves():
    assert share.together([plain(), plain(ctrl_cost_weight=0.2)]) is None
    assert share.together([plain(ctrl_cost_weight=0.2)] * 2) is not None


def test_an_ant_without_its_contacts_has_27_numbers(robots):
    assert robots("Ant-v5", kwargs={"include_cfrc_ext_in_observation": False}).reset(0).shape == (3, 27)


def test_a_robot_that_falls_when_its_time_is_up_is_said_to_do_both(robots):
    ours, theirs = (robots("InvertedPendulum-v5", ours=mine) for mine in (True, False))
    ours._crew._together._share.time_limit = 5
    for env in theirs._crew.envs:
        env._max_episode_steps = 5
    ours.reset(0), theirs.reset(0)
    both = 0
    for action in actions(ours, 100):
        step, like = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal([step.terminated, step.truncated], [like.terminated, like.truncated])
        both += int((step.terminated & step.truncated).sum())
    assert both > 0


@pytest.mark.parametrize("id", ["HalfCheetah-v5", "Ant-v5"])
def test_what_no_sum_of_a_plain_episode_shows(robots, id):
    """Actions of zero and at the bounds, at rest and after long falls."""
    ours, theirs = robots(id, 2), robots(id, 2, ours=False)
    ours.reset(1), theirs.reset(1)
    for size in (0.0, 1.0, -1.0, 1e-30):
        plan = np.full((30, 2, *ours.action_space.shape), size, np.float32)
        assert played(ours, plan) == played(theirs, plan)


def test_a_limit_of_the_contact_cost_is_kept():
    env = plain("Humanoid-v5")
    env.unwrapped._contact_cost_range = (-np.inf, 1e-4)  # that of a plain episode is never reached
    assert share.together([env]) is not None


@pytest.mark.parametrize("high", [True, False])
def test_a_height_at_the_very_bound_is_healthy_as_gymnasium_has_it(high):
    env = plain("Ant-v5")
    env.reset(seed=0)
    first = np.random.default_rng(0).uniform(-1.0, 1.0, (share._TRIED, 8)).astype(np.float32)[0]
    env.step(first)
    height = env.unwrapped.data.qpos[2]
    env.unwrapped._healthy_z_range = (0.0, height) if high else (height, 2.0)
    assert share.together([env]) is not None


@pytest.mark.slow
@pytest.mark.parametrize("id", ["HalfCheetah-v5", "Walker2d-v5"])
def test_workers_change_nothing(robots, id):
    here, there = robots(id, 5), robots(id, 5, workers=1)
    here.reset(2), there.reset(2)
    plan = actions(here, 200)
    assert played(here, plan) == played(there, plan)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("id", ["Hopper-v5", "Ant-v5"])
def test_a_state_of_the_one_goes_on_with_the_other(robots, id, first):
    before, after = robots(id, ours=first), robots(id, ours=not first)
    before.reset(5)
    plan = actions(before, 120)
    played(before, plan[:70])
    state = before.state()
    after.reset(0)
    np.testing.assert_array_equal(after.set_state(state), before._arena.step.obs)
    assert after.state() == state
    assert played(before, plan[70:]) == played(after, plan[70:])


def test_a_simulation_that_is_not_finite_is_the_same_line(robots):
    said = []
    for ours in (True, False):
        env = robots(ours=ours)
        env.reset(0)
        inner = env._crew.envs[1].unwrapped
        inner.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        env.step(np.zeros((3, 6), np.float32))
        inner.data.qvel[3] = np.nan
        with pytest.raises(NotFinite, match="sub-environment 1 .* gave a non-finite observation") as error:
            env.step(np.zeros((3, 6), np.float32))
        said.append(str(error.value))
    assert said[0] == said[1]


def test_where_mujoco_gives_up_the_process_lives_and_the_line_is_the_same(robots):
    said = []
    hook = ctypes.c_void_p.in_dll(share._physics(), "mju_user_error")
    for ours in (True, False):
        env = robots(num_envs=range(4, 7), ours=ours)
        env.reset(0)
        env._crew.envs[2].unwrapped.model.opt.integrator = 99
        with pytest.raises(EnvError, match="sub-environment 6 .* step 1 .* invalid integrator") as error:
            env.step(np.zeros((3, 6), np.float32))
        said.append(str(error.value).partition(" (/")[0])
        assert hook.value is None
    assert said[0] == said[1] and error.value.traceback


class Other(gymnasium.Wrapper):
    """A wrapper that does nothing, which nobody can know."""


def plain(id="HalfCheetah-v5", **kwargs):
    return gymnasium.make(id, disable_env_checker=True, **kwargs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Other(plain()),
        lambda: plain(exclude_current_positions_from_observation=False),
        lambda: plain().env,
        lambda: Other(plain().env),
        lambda: gymnasium.make("HalfCheetah-v5"),  # gymnasium's checker in between
        lambda: plain("Reacher-v5"),
        lambda: plain("Walker2d-v5"),
    ],
    ids=["wrapped", "options", "no clock", "wrapped, no clock", "checked", "unknown", "of another kind"],
)
def test_what_is_not_a_robot_as_it_comes_steps_by_itself(make):
    env = make()
    assert share.together([plain(), env]) is None
    assert (share.together([env]) is None) == (env.unwrapped.spec.id != "Walker2d-v5")
    env.close()


def test_without_a_compiler_every_robot_steps_by_itself(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(share, "say_once", None)  # it is no news
    native.load.cache_clear()
    try:
        assert share.together([plain()]) is None
    finally:
        native.load.cache_clear()


def test_a_window_is_drawn_by_gymnasium():
    env = plain()
    assert share.together([env]) is not None
    env.unwrapped.render_mode = "human"
    assert share.together([env]) is None


def test_a_class_of_the_same_name_is_another_one():
    class HalfCheetahEnv(type(plain().unwrapped)):
        pass

    gymnasium.register("Mine-v5", entry_point=HalfCheetahEnv, max_episode_steps=1000)
    try:
        assert share.together([plain("Mine-v5")]) is None
    finally:
        gymnasium.registry.pop("Mine-v5")


@pytest.mark.parametrize("field, value", [("control", 0.1 + 1e-8), ("seen", None), ("forward", 1.0000000000000002)])
def test_one_bit_of_difference_and_gymnasiums_own_step_is_taken(robots, monkeypatch, capsys, field, value):
    kind, plan = f"{tasks._WHERE}half_cheetah_v5:HalfCheetahEnv", tasks.half_cheetah

    def changed(env):
        task = plan(env)
        clipped = [task.seen[0], tasks.Part(task.seen[1].numbers, -5.0, 5.0)]
        return task._replace(**{field: clipped if value is None else value})

    monkeypatch.setitem(tasks.TASKS, kind, changed)
    monkeypatch.setattr(share, "say_once", print)
    assert share.together([plain()]) is None
    assert "step it otherwise than envs/mujoco does; gymnasium's own step is taken" in capsys.readouterr().out


def test_what_is_drawn_has_moved(robots):
    if importlib.util.find_spec("mujoco.egl") is None:
        pytest.skip("nothing to draw with")
    pictures = []
    for ours in (True, False):
        env = robots(num_envs=1, ours=ours, render_mode="rgb_array")
        env.reset(0)
        try:
            before = env.render()
        except EnvError as error:
            pytest.skip(f"nothing to draw with: {error}")
        played(env, actions(env, 20))
        pictures.append(env.render())
        assert (pictures[-1] != before).any()
    np.testing.assert_array_equal(*pictures)
