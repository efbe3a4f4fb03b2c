import os
import tempfile
from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text

from envs.action import clip, tanh
from envs.base import EnvError, NoState, seeds
from envs.vector import vector
from tests.envs.toy import Both, Counter, Faulty, Grouped, Image, Keeper, Restless, Shaped, Told

WORKERS = [0, 2]


def actions(env, steps, seed=0):
    return (
        np.random.default_rng(seed).uniform(-1, 1, (steps, env.num_envs, env.action_space.shape[0])).astype(np.float32)
    )


def play(env, plan):
    return [type(step)(*(array.copy() for array in step)) for step in map(env.step, plan)]


@pytest.mark.parametrize("workers", WORKERS)
def test_same_step_reset(open_vector, workers):
    env = open_vector(Counter, 3, workers, "Counter")
    first = env.reset(0).copy()
    steps = play(env, actions(env, 12))
    np.testing.assert_array_equal(first[:, :2], [[0, 0], [1, 0], [2, 0]])
    previous = first
    for t, step in enumerate(steps, start=1):
        ended = t % 5 == 0
        # Every row is a real step: the clock of next_obs is one more than that of the observation acted on.
        np.testing.assert_array_equal(step.next_obs[:, 1], previous[:, 1] + 1)
        np.testing.assert_array_equal(step.next_obs[:, 0], previous[:, 0])
        np.testing.assert_array_equal(step.terminated, [ended, False, ended])
        np.testing.assert_array_equal(step.truncated, [False, ended, False])
        if ended:
            np.testing.assert_array_equal(step.next_obs[:, 1], [5, 5, 5])
            np.testing.assert_array_equal(step.obs[:, 1], [0, 0, 0])
            np.testing.assert_allclose(step.episode_return, 1.5 + 5 * np.arange(3))
            assert step.episode_length.tolist() == [5, 5, 5]
        else:
            np.testing.assert_array_equal(step.obs, step.next_obs)
            assert np.isnan(step.episode_return).all() and not step.episode_length.any()
        previous = step.obs


def test_an_end_of_both_kinds_is_reported_as_both(open_vector):
    env = open_vector(Both, 2, 0, "Both")
    env.reset(0)
    for t, step in enumerate(play(env, actions(env, 10)), start=1):
        assert step.terminated.tolist() == step.truncated.tolist() == [t % 5 == 0] * 2


def test_an_environment_may_keep_its_action(open_vector):
    env = open_vector(Keeper, 2, 0, "Keeper")
    env.reset(0)
    plan = actions(env, 4)
    rewards = [step.reward for step in play(env, plan)]
    np.testing.assert_allclose(rewards[1:], np.abs(np.diff(plan, axis=0)).sum(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *((kind, np.float32) for kind in (np.float16, np.float32, np.uint8, np.int16)),
        *((kind, np.float64) for kind in (np.float64, np.int32, np.int64, np.uint32)),
    ],
)
def test_dtypes_and_shapes(open_vector, monkeypatch, given, kept):
    """Observations are kept in what holds every digit of them."""
    monkeypatch.setattr(Counter, "observation_space", Box(0, 100, (3,), given))
    env = open_vector(Counter, 3, 0, "Counter")
    assert env.reset(0).dtype == kept == env.observation_space.dtype
    step = env.step(actions(env, 1)[0])
    kinds = {name: (array.shape, array.dtype) for name, array in step._asdict().items()}
    assert kinds == {
        "obs": ((3, 3), kept),
        "reward": ((3,), np.float64),
        "next_obs": ((3, 3), kept),
        "terminated": ((3,), np.bool_),
        "truncated": ((3,), np.bool_),
        "group": ((3,), np.int64),
        "episode_return": ((3,), np.float64),
        "episode_length": ((3,), np.int64),
    }


def test_a_state_of_an_earlier_version_whose_observations_were_rounded_is_taken(open_vector):
    here, there = (open_vector(Counter, 2, 0, "Counter") for _ in range(2))
    here.reset(0)
    obs = here.step(np.ones((2, 2))).obs
    earlier = [one | {"obs": obs[i].astype(np.float32).tobytes().hex()} for i, one in enumerate(here.state())]
    np.testing.assert_array_equal(there.set_state(earlier), obs)
    earlier[1]["obs"] = np.float32([1, 1, 0]).tobytes().hex()
    with pytest.raises(EnvError, match="sub-environment 1 .* came to another observation"):
        there.set_state(earlier)


def test_several_axes_are_flattened(open_vector):
    env = open_vector(Image, 2, 0, "Image")
    assert env.observation_space.shape == (6,) and env.action_space.shape == (4,)
    assert env.reset(0).tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert env.step(np.zeros((2, 4))).obs.tolist() == [[1, 2, 3, 4, 5, 6]] * 2


@pytest.mark.parametrize("workers", WORKERS)
def test_sub_environments_have_their_own_seed_and_group(open_vector, workers):
    env = open_vector(Counter, 4, workers, "Counter")
    luck = env.reset(7)[:, 2]
    for i, seed in enumerate(seeds(7, 4)):
        alone = Counter(i)
        assert alone.reset(seed=seed)[0][2] == luck[i]
    assert env.step(actions(env, 1)[0]).group.tolist() == [0, 1, 2, 3]


def test_group_is_the_one_in_force_during_the_transition(open_vector):
    env = open_vector(Grouped, 1, 0, "Grouped")
    env.reset(0)
    assert [int(step.group[0]) for step in play(env, actions(env, 8))] == [10, 10, 11, 11, 11, 20, 20, 21]


@pytest.mark.parametrize("workers", WORKERS)
def test_reset_starts_over(open_vector, workers):
    env = open_vector(Counter, 3, workers, "Counter")
    plan = actions(env, 7)
    first = env.reset(3).copy()
    once = play(env, plan)
    np.testing.assert_array_equal(env.reset(3), first)
    for a, b in zip(once, play(env, plan)):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("played", [0, 3, 5, 13])
def test_state_continues_bit_for_bit(open_vector, workers, played):
    env, other = (open_vector(Counter, 3, workers, "Counter") for _ in range(2))
    plan = actions(env, played + 9)
    env.reset(5)
    play(env, plan[:played])
    other.reset(1)
    np.testing.assert_array_equal(other.set_state(env.state()), env._arena.step.obs)
    for a, b in zip(play(env, plan[played:]), play(other, plan[played:])):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("played", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (11, 23))])
def test_state_continues_where_episodes_are_of_different_lengths(open_vector, workers, played):
    """3, 7 and 11 steps. What was continued has the state of what went on, and a group that was told once is kept."""
    env, other = (open_vector(uneven, 3, workers, "Told") for _ in range(2))
    plan = actions(env, played + 9)
    env.reset(5)
    play(env, plan[:played])
    other.set_state(env.state())
    for a, b in zip(play(env, plan[played:]), play(other, plan[played:])):
        for x, y in zip(a, b):
            np.testing.assert_array_equal(x, y)
    assert other.state() == env.state()


def uneven(index):
    return Told(index, 3 + 4 * index)


def test_a_state_holds_the_actions_of_the_running_episode_alone(open_vector):
    env = open_vector(uneven, 3, 0, "Told")
    env.reset(0)
    plan = actions(env, 19)
    play(env, plan)
    began = [18, 14, 11]
    for i, state in enumerate(env.state()):
        assert state["actions"] == plan[began[i] :, i].tobytes().hex()
    assert len(env._crew._history._log) == 8  # as far back as the longest of them began


def test_what_is_saved_of_an_episode_without_an_end_is_bounded(open_vector, monkeypatch, capsys):
    """Once an episode is longer than what is kept there is no state; the next episode has one again."""
    monkeypatch.setattr("envs.history.LONGEST", 5)
    env = open_vector(partial(Told, length=8), 2, 0, "long")
    env.reset(0)
    for t, action in enumerate(actions(env, 9), start=1):
        env.step(action)
        assert len(env._crew._history._log) <= 5
        if 5 < t < 8:  # twice
            with pytest.raises(NoState, match="its episode .* longer than the 5 steps .*env.kwargs.max_episode_steps"):
                env.state()
        else:
            env.state()
    assert capsys.readouterr().err.count("exact_resume=false") == 1


class Gone(Counter):
    """Leaves this process in a folder that is no more."""

    def reset(self, *, seed=None, options=None):
        os.chdir(folder := tempfile.mkdtemp())
        os.rmdir(folder)
        return super().reset(seed=seed)


def test_a_working_directory_that_an_environment_removes_is_left(open_vector, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    open_vector(Gone, 2, 0, "gone").reset(0)
    assert os.path.isdir(os.getcwd())


def test_what_has_no_render_is_named(open_vector):
    env = open_vector(Counter, 1, 0, "plain")
    env.reset(0)
    with pytest.raises(EnvError, match=r"sub-environment 0 .*: it has no render\(\)"):
        env.render()


@pytest.mark.parametrize(
    "space",
    [
        Box(-1.0, 1.0, (), np.float32),
        Box(-np.inf, np.inf, (1, 2), np.float64),
        Box(np.float16([5, 5]), np.float16([5, 35]), dtype=np.float16),
        MultiDiscrete([2, 3], start=[-1, 5], dtype=np.int32),
        MultiDiscrete([[2, 3], [4, 5]]),
    ],
    ids=str,
)
def test_actions_arrive_in_shape_and_dtype_of_the_space_and_in_a_replay_too(open_vector, space):
    env, other = (open_vector(partial(Shaped, action_space=space), 2, 0, "Shaped") for _ in range(2))
    env.reset(0)
    raw = np.random.default_rng(0).normal(0, 5, (4, 2, *env.action_space.shape)).astype(np.float32)
    if isinstance(space, MultiDiscrete):
        raw = np.random.default_rng(0).integers(0, env.action_space.nvec, raw.shape)
    for action in raw:
        env.step(clip(action, env.action_space))
        if isinstance(space, Box) and env.action_space.is_bounded():
            env.step(tanh(action, env.action_space))
    np.testing.assert_array_equal(other.set_state(env.state()), env._arena.step.obs)


def test_spaces_of_another_kind_are_refused_with_the_way_out(open_vector):
    for role, space, way in (
        ("action_space", Box(-10, 10, (1,), np.int64), "round inside .*, or Discrete"),
        ("action_space", MultiBinary(3), "MultiDiscrete, one number for each part .with network=categorical"),
        ("action_space", Dict(x=Discrete(2)), "needed is a Box, Discrete or MultiDiscrete"),
        ("observation_space", Dict(x=Text(5)), "wrap the environment"),
        ("observation_space", Sequence(Discrete(4)), "Dict, Tuple, Discrete"),
        ("observation_space", None, "one of gymnasium's"),
        ("observation_space", lambda agent: Discrete(2), "several agents; needed is one agent's"),
    ):
        made = type("Odd", (Counter,), {role: space})
        with pytest.raises(EnvError, match=f"Odd: .*{role.split('_')[0]} .*{way}") as error:
            open_vector(made, 1, 0, "Odd")
        assert "\n" not in str(error.value)


def test_neighbouring_run_seeds_share_no_environment():
    assert not set(seeds(7, 100)) & set(seeds(8, 100))


class Level(Counter):
    """Shows what any Counter shows, and pays by how many episodes it has played."""

    played = 0

    def reset(self, **options):
        self.played += 1
        return super().reset(**options)

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float(self.played), *rest


def test_a_reward_that_an_episode_does_not_determine_is_refused_too(open_vector):
    """Its observations come back; its return does not."""
    env = open_vector(Level, 2, 0, "Level")
    env.reset(0)
    play(env, actions(env, 17))
    again = open_vector(Level, 2, 0, "Level")
    with pytest.raises(EnvError, match="came to another return when its episode was replayed: it is not determined"):
        again.set_state(env.state())
    again.set_state(
        [{k: v for k, v in state.items() if k != "return"} for state in env.state()]
    )  # an earlier version's


class Noisy(Counter):
    def step(self, action):
        np.random.standard_normal()  # noqa: NPY002
        return super().step(action)


def test_what_draws_from_the_process_in_its_steps_alone_is_told_as_well(open_vector, capsys):
    env = open_vector(Noisy, 2, 0, "Noisy")
    env.reset(0)
    assert capsys.readouterr().err == ""
    play(env, actions(env, 3))
    assert capsys.readouterr().err.count("Noisy: it draws from np.random") == 1


def test_state_is_refused_where_it_does_not_come_back(open_vector):
    env = open_vector(Restless, 2, 0, "Restless")
    env.reset(0)
    play(env, actions(env, 2))
    with pytest.raises(EnvError, match="not determined"):
        env.set_state(env.state())
    with pytest.raises(EnvError, match="2"):
        env.set_state([])


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    "what, says",
    [("observation", "non-finite observation"), ("reward", "non-finite reward"), ("raise", "floor is gone")],
)
def test_a_fault_names_the_sub_environment_its_seed_and_step(open_vector, workers, what, says):
    env = open_vector(partial(Faulty, what=what), 3, workers, "Faulty")
    env.reset(4)
    with pytest.raises(EnvError, match=f"Faulty: sub-environment 1 .seed {seeds(4, 3)[1]}, step 3 .*{says}"):
        play(env, actions(env, 3))
    with pytest.raises(EnvError, match="reset"):
        env.step(np.zeros((3, 2)))
    env.reset(4)
    play(env, actions(env, 2))


def test_bad_actions_are_refused(open_vector):
    env = open_vector(Counter, 2, 0, "Counter")
    with pytest.raises(EnvError, match="reset"):
        env.step(np.zeros((2, 2)))
    env.reset(0)
    for bad in (np.zeros(2), np.zeros((3, 2)), np.zeros((2, 3)), 0.0):
        with pytest.raises(EnvError, match="shape"):
            env.step(bad)
    for value in (np.nan, np.inf):
        with pytest.raises(EnvError, match="sub-environment 1 is not finite"):
            env.step(np.array([[0, 0], [0, value]]))
    assert env.step(np.zeros((2, 2))).obs[0, 1] == 1  # none of them was a step


@pytest.mark.parametrize("workers", WORKERS)
def test_close_twice_is_harmless_and_use_after_it_an_error(open_vector, workers):
    env = open_vector(Counter, 2, workers, "Counter")
    env.reset(0)
    env.close()
    env.close()
    for use in (lambda: env.reset(0), lambda: env.step(np.zeros((2, 2))), env.state, lambda: env.set_state([])):
        with pytest.raises(EnvError, match="after close"):
            use()


@pytest.mark.parametrize("num_envs, workers", [(0, 0), (2, -1)])
def test_impossible_sizes(num_envs, workers):
    with pytest.raises(EnvError, match="at least"):
        vector(Counter, num_envs, workers, "Counter")
