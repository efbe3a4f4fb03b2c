"""What is collected: real environment steps, true successors, the sampled action, and nobody else's arrays touched."""

import numpy as np
import pytest
import torch

from envs.action import clip, tanh
from envs.base import EnvError
from envs.probe import probe
from envs.vector import vector
from ppo.config.options import option
from tests.buffer.rollouts import Watched, prepare, roll
from tests.envs.toy import Counter


def test_every_row_is_one_environment_step():
    """Two-step episodes, observed 0 then 1 and paid 0 then 1: no row between episodes whose action was ignored."""
    envs = Watched(probe(3, 0, task="delay"))
    _, rollout, following, episodes = roll(envs, num_steps=6)
    assert len(envs.actions) == 6 and rollout.reward.shape == (6, 3)
    for column in (rollout.obs[:, 0, 0], rollout.reward[:, 0], rollout.done[:, 0].float()):
        assert column.tolist() == [0, 1, 0, 1, 0, 1]
    assert rollout.next_obs[:, 0, 0].tolist() == [1] * 6
    assert following[:, 0].tolist() == [0, 0, 0]
    assert episodes == [(1.0, 2)] * 9


def test_the_rows_of_an_episode_follow_each_other():
    _, rollout, following, _ = roll(option("env", "gym", id="Pendulum-v1")(3, 0), num_steps=210)
    successor = torch.cat([rollout.obs[1:], torch.tensor(following)[None]])
    inside = ~rollout.done
    assert rollout.done.sum(0).tolist() == [1, 1, 1] and not rollout.terminated.any()
    assert torch.equal(rollout.next_obs[inside], successor[inside])
    assert not torch.equal(rollout.next_obs[~inside], successor[~inside])


def test_arrays_of_the_environment_are_not_modified_and_not_kept():
    envs = Watched(option("env", "gym", id="Pendulum-v1")(2, 0))
    _, rollout, _, _ = roll(envs, num_steps=5)
    envs.check()
    for array in envs.given:
        array.fill(77)
    assert not (rollout.obs == 77).any() and not (rollout.next_obs == 77).any() and not (rollout.reward == 77).any()


def test_the_sampled_action_is_stored_and_the_world_receives_the_mapped_one():
    """sigma e^2: nearly every action is outside of [-2, 2]; beyond 7.25, tanh is within 1e-6 of its bound and what is
    recovered from it another action."""
    for action, mapped in ((clip, lambda a: a.clamp(-2, 2)), (tanh, lambda a: 2 * torch.tanh(a))):
        envs = Watched(option("env", "gym", id="Pendulum-v1")(2, 0))
        network, rollout, _, _ = roll(envs, num_steps=8, log_std=2.0, action=action)
        assert rollout.action.abs().max() > 10
        torch.testing.assert_close(torch.tensor(np.array(envs.actions)), mapped(rollout.action))
        torch.testing.assert_close(rollout.policy.mean, network.policy(rollout.obs).mean)
        batch = prepare(network, rollout)
        assert torch.equal(batch.action, rollout.action.flatten(0, 1))


def test_acting_takes_one_thread_and_gives_the_others_back():
    """PyTorch's other threads would spin on cores that step environments."""
    seen = []

    class Counting(Counter):
        def step(self, action):
            seen.append(torch.get_num_threads())
            if self.clock == 3:
                raise ValueError
            return super().step(action)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(EnvError):
            roll(vector(Counting, 1, 0, "counting"), num_steps=5)
        assert seen == [1, 1, 1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
