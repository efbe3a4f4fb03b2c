import numpy as np
import pytest
import torch

from envs.base import EnvError, NoState, say_once
from envs.groups import roles
from envs.vecenv import vecenv
from tests.envs import simulators

CPU = torch.device("cpu")


WORDS = {"bootstrap": "last_obs", "random_start": False, "on_nonfinite": "mask"}


def world(count=4, make=simulators.make, **words):
    kwargs = {key: words.pop(key) for key in tuple(words) if key not in WORDS}
    return vecenv(count, 0, CPU, make=make, kwargs=kwargs, **WORDS | words)


def steps(env, count):
    env.reset(0)
    return [env.step(torch.full((env.num_envs, 2), 0.1)) for _ in range(count)]


def test_groups_become_columns_and_their_names_say_whose_they_are():
    env = world()
    assert env.columns == {"policy": range(2), "critic": range(2, 4)}
    assert env.roles == {"actor": ["policy"], "critic": ["critic"]}
    assert env.observation_space.shape == (4,) and env.action_space.shape == (2,)
    assert env.reset(0).tolist() == [[i, 0, 0, 10 * i] for i in range(4)]
    np.testing.assert_array_equal(env.row({"policy": [1, 2], "critic": np.array([3.0, 4])}), [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("names", "actor", "critic"),
    [
        (["actor", "critic"], ["actor"], ["critic"]),
        (["policy"], ["policy"], ["policy"]),
        (["policy", "critic", "rnd_state"], ["policy"], ["critic"]),
    ],
)
def test_roles(names, actor, critic):
    assert roles(names) == {"actor": actor, "critic": critic}


def test_where_no_name_says_it_both_see_all():
    assert roles(["state", "critic"]) == {}


def test_time_limits_and_ends():
    """World 0 is truncated at its fourth step, world 1 terminated at its third; obs is the next episode's first."""
    took = steps(world(2), 4)
    assert [s.truncated.tolist() for s in took] == [[False, False]] * 3 + [[True, False]]
    assert [s.terminated.tolist() for s in took] == [[False, False]] * 2 + [[False, True], [False, False]]
    assert took[3].obs[0].tolist() == [0, 0, 0, 0] and took[2].obs[1].tolist() == [1, 0, 0, 10]
    torch.testing.assert_close(took[3].episode_return[0].item(), 0.1 + 0.2 + 0.3 + 0.4)
    torch.testing.assert_close(took[2].episode_return[1].item(), 3 + 0.1 + 0.2 + 0.3)
    assert took[3].episode_length.tolist() == [4, 0] and took[3].episode_return[1].isnan()
    assert [s.reward.dtype for s in took] == [torch.float32] * 4


def test_the_true_last_observation_where_it_is_given():
    took = steps(world(2, final=True), 4)
    assert took[3].next_obs[0].tolist() == [0, 4, 4, 0] and took[2].next_obs[1].tolist() == [1, 3, 3, 10]
    for s in took:
        going = ~(s.terminated | s.truncated)
        assert torch.equal(s.next_obs[going], s.obs[going])


def test_else_the_one_that_was_acted_on_which_is_said(capsys):
    env = world(2, length=5)
    *before, last = steps(env, 5)
    assert torch.equal(last.next_obs[0], before[-1].obs[0])
    with pytest.raises(NoState):
        env.state()
    assert capsys.readouterr().err.count("env.bootstrap=last_obs") == 1
    with pytest.raises(NoState):
        env.state()
    assert "last_obs" not in capsys.readouterr().err


def test_or_the_run_ends_where_that_is_asked_for():
    env = world(2, bootstrap="final_obs")
    steps(env, 3)
    with pytest.raises(NoState):  # no time limit came yet
        env.state()
    env.step(torch.zeros(2, 2))
    with pytest.raises(EnvError, match="env.bootstrap=last_obs"):
        env.state()


def test_a_finite_horizon_has_no_time_outs():
    took = steps(world(2, time_outs=False), 4)
    assert took[3].terminated.tolist() == [True, False]
    assert not any(s.truncated.any() for s in took)


def test_observations_are_asked_for_once_and_a_world_without_reset_is_made_anew():
    env = world()
    first = env._sim
    env.reset(0)
    assert first.looks == 1
    env.step(torch.ones(4, 2))
    assert env.reset(1).tolist() == [[i, 0, 0, 10 * i] for i in range(4)]
    assert env._sim is not first and env._sim.looks == 1


def test_it_is_the_new_one_that_is_seeded_before_it_is_looked_at():
    class Seeded(simulators.Clocks):
        def seed(self, seed):
            self.seeded, self.looked = seed, self.looks

    env = world(make=Seeded)
    env.reset(0)
    first = env._sim
    env.reset(1)
    assert env._sim is not first and env._sim.looked == 0 and env._sim.seeded != first.seeded


class Resettable(simulators.Clocks):
    """As many are in truth."""

    def seed(self, seed):
        self.seeded = seed

    def reset(self):
        self.episode_length_buf.zero_()
        return self.groups(), {}


def test_reset_and_seed_are_called_where_they_are():
    env = world(make=Resettable)
    first = env._sim
    env.reset(0)
    one = first.seeded
    env.step(torch.ones(4, 2))
    assert env.reset(1)[:, 1].tolist() == [0] * 4
    assert env._sim is first and first.seeded != one and first.looks == 1


def test_the_action_is_a_copy_and_what_was_returned_stays():
    env, action = world(), torch.ones(4, 2)
    obs = env.reset(0)
    taken = [env.step(action) for _ in range(6)]
    assert (action == 1).all() and all((a == 1).all() for a in env._sim.actions)
    assert obs[:, 1].tolist() == [0] * 4 and [s.obs[0, 1].item() for s in taken] == [1, 2, 3, 0, 1, 2]


def test_random_first_lengths_are_the_seeds_own():
    lengths = []
    for seed in (1, 1, 2):
        env = world(200, random_start=True, length=50)
        env.reset(seed)
        lengths.append(env._sim.episode_length_buf.tolist())
    assert lengths[0] == lengths[1] != lengths[2]
    assert 0 <= min(lengths[0]) < 5 and 45 <= max(lengths[0]) < 50
    assert abs(np.mean(lengths[0]) - 24.5) < 4 * 14.4 / 200**0.5


def test_the_first_observations_are_of_the_place_where_an_episode_begins():
    env = world(8, random_start=True, length=50)
    assert env.reset(1)[:, 1].tolist() == env._sim.episode_length_buf.tolist() != [0] * 8


def test_limits_may_be_each_worlds_own():
    """rsl_rl's interface lets max_episode_length be a tensor."""
    limits = torch.tensor([4, 4, 6, 20])
    env = world(make=simulators.Breaking, what="obs", length=limits, final=True)
    took = steps(env, 6)
    assert [bool(s.reward[2].isnan()) for s in took] == [False, True, True, False, False, False]  # reset in the third
    starts = []
    for seed in range(50):
        env = world(length=limits, random_start=True)
        env.reset(seed)
        starts.append(env._sim.episode_length_buf)
    drawn = torch.stack(starts)
    assert (drawn < limits).all() and (drawn.max(0).values >= limits - 3).all() and drawn.dtype == torch.long


def test_a_single_observation_is_read_by_its_groups_names():
    """However its dict is ordered: else a robot would act on another one's sensors."""
    env = world()
    policy, critic = np.zeros(2), np.ones(2)
    for given in ({"policy": policy, "critic": critic}, {"critic": critic, "policy": policy}, [0, 0, 1, 1]):
        assert env.row(given).tolist() == [0, 0, 1, 1]
    for wrong in (
        {"policy": np.zeros(4)},
        {"policy": critic[:1], "critic": np.zeros(3)},
        np.zeros(3),
        np.zeros((2, 4)),
    ):
        with pytest.raises(EnvError, match="an observation of .*needed is"):
            env.row(wrong)


def test_what_it_says_of_itself():
    env = world(2)
    steps(env, 2)
    assert env.log() == pytest.approx({"clock": 1.5, "two": 2.0})
    assert env.log() == {}
    steps(env, 3), steps(env, 1)  # of a reset on: an evaluation never asks
    assert env.log() == pytest.approx({"clock": 1.0, "two": 2.0})


def test_a_world_that_breaks_is_out_of_time_in_the_next_step():
    """World 2, whose limit is 20 steps, breaks in the second and is as good as new after the third; no other notices."""
    told = {"length": 20, "final": True}
    took, whole = steps(world(make=simulators.Breaking, what="obs", **told), 25), steps(world(**told), 25)
    broken = [bool(s.reward[2].isnan()) for s in took]
    assert broken == [False, True, True] + [False] * 22 and [bool(s.truncated[2]) for s in took[:3]] == [
        False,
        True,
        True,
    ]
    assert took[2].obs[2].tolist() == [2, 0, 0, 20] and took[3].next_obs[2].tolist() == [2, 1, 1, 20]
    assert took[22].truncated[2] and took[22].episode_length[2] == 20
    assert all(s.episode_return[2].isnan() for s in took[:22]) and not took[22].episode_return[2].isnan()
    others = [0, 1, 3]
    for a, b in zip(took, whole, strict=True):
        assert all(torch.equal(x[others].nan_to_num(), y[others].nan_to_num()) for x, y in zip(a, b, strict=True))


def test_of_a_reward_alone_the_rest_of_the_episode_is_learned_from_and_its_return_is_not_counted():
    took = steps(world(make=simulators.Breaking, what="reward", length=20, final=True), 4)
    assert [bool(s.reward[2].isnan()) for s in took] == [False, True, False, False]
    assert [bool(s.truncated[2]) for s in took] == [False, True, True, False]  # the learner's, then the simulator's
    assert took[2].next_obs[2].tolist() == [2, 20 + 1, 20 + 1, 20] and took[2].episode_return[2].isnan()


@pytest.mark.parametrize("final", [False, True])
def test_a_world_without_a_clock_is_left_out_until_its_episode_ends(final, capsys):
    """At its own limit of 6 steps. Without a last observation, the one before stands for it: which was none either."""
    say_once.cache_clear()
    took = steps(world(make=simulators.Clockless, what="obs", length=6, final=final), 8)
    assert [bool(s.reward[2].isnan()) for s in took] == [False] + [True] * 5 + [False] * 2
    assert took[5].obs[2].tolist() == [2, 0, 0, 20] and all(s.episode_return[2].isnan() for s in took)
    assert capsys.readouterr().err.count("a world that is not finite cannot be reset") == 1


def test_where_such_a_number_is_to_end_the_run_the_clock_is_left_alone():
    took = steps(world(make=simulators.Breaking, what="obs", length=6, on_nonfinite="stop"), 4)
    assert [bool(s.reward[2].isnan()) for s in took] == [False, True, True, True]


@pytest.mark.parametrize("final", [False, True])
def test_nothing_in_a_step_waits_for_the_device(final):
    """On the meta device there is no number to be read."""

    def make(num_envs, device):
        return simulators.Still(num_envs, device, final)

    meta = torch.device("meta")
    env = vecenv(4, 0, meta, make=make, kwargs={}, **WORDS)
    env.reset(0)
    for _ in range(3):
        step = env.step(torch.zeros(4, 2, device=meta))
    assert {x.device for x in step} == {meta}
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(step.truncated.any())


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("num_envs", "num_envs=5, was asked for 4"),
        ("attribute", "has no num_actions"),
        ("tensor", "gave a tensor of shape [4, 3] as observations; needed is a dict"),
        ("shape", "group rgb has shape [4, 8, 8], must be [4, D]"),
        ("device", "group policy is on meta, must be on cpu"),
        ("groups", "groups of columns policy 2; at first they were policy 2, critic 2"),
        ("width", "policy 2, critic 5; at first they were policy 2, critic 2"),
        ("three", "step() gave a tuple of 3; needed is (observations, reward, dones, extras)"),
        ("reward", "reward has shape [4, 1], must be [4]"),
        ("raises", "step() raised ZeroDivisionError"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(what, said):
    with pytest.raises(EnvError) as error:
        steps(world(make=simulators.broken, what=what), 1)
    assert said in str(error.value) and "\n" not in str(error.value) and "broken" in str(error.value)


def test_no_maker():
    with pytest.raises(EnvError, match=r"env.make=mypackage.make trust=\[mypackage\]"):
        vecenv(1, 0, CPU, make=None, kwargs={}, **WORDS)


def test_after_close():
    env = world()
    env.close()
    env.close()
    with pytest.raises(EnvError, match="after close"):
        env.reset(0)
