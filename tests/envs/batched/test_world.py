"""Batched worlds: the promises of every vector environment, kept by tensors."""

import numpy as np
import pytest
import torch

from envs.base import EnvError, NotFinite
from envs.batched import world
from envs.batched.random import uniform
from envs.batched.tasks import TASKS
from envs.batched.world import World, advance
from envs.device import Tally, hosted, make
from ppo.config.options import option

CPU = torch.device("cpu")


def batched(task, count=3):
    return make(option("env", "batched", task=task), count)


def played(envs, steps, seed=0, g=1):
    """(obs of the reset, steps): random actions, the same for world i whatever their number."""
    generators = [torch.Generator().manual_seed(1000 * g + i) for i in range(envs.num_envs)]
    size = envs.action_space.shape[0]
    obs = envs.reset(seed)
    return obs, [
        envs.step(torch.stack([2 * torch.rand(size, generator=g) - 1 for g in generators])) for _ in range(steps)
    ]


# Many steps of the hopper, eager, take two to five seconds.
EPISODES = [pytest.param(task, marks=pytest.mark.slow) if task == "hopper" else task for task in TASKS]


@pytest.mark.parametrize("task", EPISODES)
def test_every_row_is_a_step_and_an_end_is_followed_by_a_new_episode(task):
    envs = batched(task)
    obs, steps = played(envs, 2 * TASKS[task].limit + 3)
    total, length = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    starts, ends = [obs], 0
    for step in steps:
        ended = step.terminated | step.truncated
        total, length = total + step.reward, length + 1
        assert torch.equal(step.truncated, length == TASKS[task].limit)
        assert torch.equal(step.obs[~ended], step.next_obs[~ended])
        assert not (step.obs[ended] == step.next_obs[ended]).all(-1).any()
        assert torch.equal(step.episode_return[ended], total[ended]) and step.episode_return[~ended].isnan().all()
        assert torch.equal(step.episode_length, torch.where(ended, length, 0))
        total[ended], length[ended] = 0, 0
        starts += [step.obs[ended]]
        ends += int(ended.sum())
        assert (step.obs.dtype, step.reward.dtype, step.group.tolist()) == (torch.float32, torch.float32, [0, 1, 2])
    assert ends >= 6 and len(torch.cat(starts).unique(dim=0)) == ends + 3


@pytest.mark.parametrize("task", EPISODES)
def test_a_world_does_not_depend_on_how_many_there_are(task):
    _, few = played(batched(task, 2), 170)
    _, many = played(batched(task, 5), 170)
    for a, b in zip(few, many, strict=True):
        assert torch.equal(a.obs, b.obs[:2]) and torch.equal(a.reward, b.reward[:2])


def test_a_seed_is_an_episode_and_first_moves_along_them():
    envs = batched("pendulum", 2)
    wide = batched("pendulum", 6).reset(5)
    assert torch.equal(envs.reset(5), wide[:2]) and torch.equal(envs.reset(5, first=4), wide[4:])
    part = make(option("env", "batched", task="pendulum"), range(2, 5))
    assert torch.equal(part.reset(5), wide[2:5]) and part.step(torch.zeros(3, 1)).group.tolist() == [2, 3, 4]
    assert not torch.equal(envs.reset(6), wide[:2])


@pytest.mark.parametrize("task", TASKS)
def test_a_saved_world_continues_to_the_bit_elsewhere(task):
    envs = batched(task)
    played(envs, 130)
    saved = {name: x.clone() for name, x in envs.state().items()}
    action = [torch.rand(3, envs.action_space.shape[0]) for _ in range(100)]
    here = [envs.step(a) for a in action]
    other = batched(task)
    other.set_state(saved)
    for a, b in zip(here, map(other.step, action), strict=True):
        assert all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(a, b, strict=True))
    with pytest.raises(EnvError, match="does not fit"):
        batched(task, 4).set_state(saved)
    del saved["key"]
    with pytest.raises(EnvError, match="not one of this world"):
        other.set_state(saved)


@pytest.mark.parametrize("task", EPISODES)
def test_masks_and_a_look_whether_any_ended_are_the_same(task):
    """What a device does, against what the CPU does: every draw, in every step, and most of them thrown away."""
    made, g = TASKS[task](), torch.Generator().manual_seed(0)
    here = there = World.begin(made, torch.arange(4))
    meta = World.begin(made, torch.arange(4, device="meta"))
    for _ in range(TASKS[task].limit + 2):
        action = 2 * torch.rand(4, made.action_space.shape[0], generator=g) - 1
        here, seen = advance(made, here, action, look=True)
        there, other = advance(made, there, action)
        for a, b in zip((*here[:3], *here.tally, *seen), (*there[:3], *there.tally, *other), strict=True):
            assert torch.equal(a.nan_to_num(), b.nan_to_num())
    assert here.episode.max() >= 1
    _, seen = advance(made, meta, action.to("meta"))  # whatever asks for a number is an error there
    assert seen.obs.shape == (4, *made.observation_space.shape)


def test_what_a_step_returned_is_never_written_to():
    envs = batched("reacher")
    obs, steps = played(envs, 40)
    kept = [[x.clone() for x in (obs, *(x for s in steps for x in s))]]
    envs.step(torch.ones(3, 2))
    for a, b in zip(kept[0], (obs, *(x for s in steps for x in s)), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def test_random_numbers_are_uniform_and_those_of_a_key_its_own():
    """Mean and variance within five standard errors, no two equal rows; SplitMix64's published first number for seed 0."""
    u = uniform(torch.arange(2000), torch.zeros(2000, dtype=torch.int64), 5)
    assert u.min() >= 0 and u.max() < 1 and len(u.unique(dim=0)) == 2000
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / 10_000) ** 0.5 and abs(u.var() - 1 / 12) < 5 * (1 / 180 / 10_000) ** 0.5
    assert torch.corrcoef(u.T).fill_diagonal_(0).abs().max() < 0.12
    assert torch.equal(
        uniform(torch.tensor([7]), torch.tensor([3]), 5), uniform(torch.tensor([1, 7]), torch.tensor([3, 3]), 5)[1:]
    )
    from envs.batched.random import _GOLDEN, _mix

    assert _mix(torch.tensor(_GOLDEN)).item() & (2**64 - 1) == 0xE220A8397B1DCDAF


def test_seen_from_the_host_it_is_arrays():
    envs = batched("pendulum")
    host = hosted(batched("pendulum"))
    obs, first = envs.reset(3), host.reset(3)
    assert host.device is None and isinstance(first, np.ndarray) and np.array_equal(first, obs)
    assert hosted(host) is host and host.name == envs.name and host.num_envs == 3
    for _ in range(201):
        a, b = envs.step(torch.ones(3, 1)), host.step(np.ones((3, 1), np.float32))
        for x, y in zip(a, b, strict=True):
            assert isinstance(y, np.ndarray) and np.array_equal(x, y, equal_nan=True)
    assert b.reward.dtype == np.float64
    host.set_state(envs.state())
    with pytest.raises(NotFinite, match="observation of sub-environment 1 is not finite"):
        host.step(np.array([[0], [np.nan], [0]], np.float32))


def test_a_tally_is_the_sum_since_the_last_end():
    tally = Tally.empty(2, CPU)
    tally, total, length = tally.add(torch.tensor([1.0, 2.0]), torch.tensor([False, True]))
    assert total.isnan().tolist() == [True, False] and total[1] == 2 and length.tolist() == [0, 1]
    _, total, length = tally.add(torch.tensor([1.0, 5.0]), torch.tensor([True, True]))
    assert total.tolist() == [2, 5] and length.tolist() == [2, 1]


def test_wrong_calls_are_one_line():
    envs = batched("pendulum")
    for call in (lambda: envs.step(torch.zeros(3, 1)), envs.state):
        with pytest.raises(EnvError, match=r"needs a reset\(\)"):
            call()
    envs.reset(0)
    with pytest.raises(EnvError, match=r"action has shape \(3,\)"):
        envs.step(torch.zeros(3))
    with pytest.raises(EnvError, match="at least 1"):
        batched("pendulum", 0)


def test_what_was_not_compiled_looks_first_whether_an_episode_ended(monkeypatch):
    """On the CPU. Otherwise every step draws a beginning for every world, at twice the cost, and nearly all for nothing."""
    drawn = []
    monkeypatch.setattr(world, "uniform", lambda *given: drawn.append(given) or uniform(*given))
    envs = batched("pendulum", 4)
    envs.compile(lambda function, back: function)
    envs.reset(0)
    drawn.clear()
    envs.step(torch.zeros(4, 1))
    assert not drawn
