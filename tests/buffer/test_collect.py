"""What is collected: real environment steps, true successors, the sampled action, and nobody else's arrays touched."""

from functools import partial

import numpy as np
import pytest
import torch

from envs.action import clip, tanh
from envs.base import EnvError, Step
from envs.probe import probe
from envs.vector import vector
from ppo.buffer.collect import collect, prepare
from ppo.buffer.data import Batch
from ppo.buffer.minibatches import allocate, shuffle, unstack
from ppo.config.options import option
from ppo.network.distributions import Gaussian
from ppo.network.normaliser import Moments, ObsNormaliser
from tests.envs.toy import Both, Counter

RAW = ObsNormaliser.identity()
CPU = torch.device("cpu")


class Watched:
    """An environment that hands out its own arrays, and before each call looks whether anyone has written to them.
    Then it spoils them, as it may: they are valid until its next call."""

    def __init__(self, envs):
        self.envs, self.num_envs, self.action_space = envs, envs.num_envs, envs.action_space
        self.actions, self.given, self.kept = [], (), ()

    def reset(self, seed):
        return self._give(self.envs.reset(seed).copy())[0]

    def step(self, action):
        self.check()
        for array in self.given:
            array.fill(77)
        self.actions.append(action.copy())
        return Step(*self._give(*(x.copy() for x in self.envs.step(action))))

    def _give(self, *arrays):
        self.given, self.kept = arrays, tuple(x.copy() for x in arrays)
        return arrays

    def check(self):
        for given, kept in zip(self.given, self.kept, strict=True):
            np.testing.assert_array_equal(given, kept)


def roll(envs, *, num_steps, log_std=-1.0, action=clip, normalise=RAW):
    sizes = envs.envs if isinstance(envs, Watched) else envs
    build = option("network", "mlp", actor=[8], critic=[8], log_std=log_std)
    sizes = (sizes.observation_space.shape[0], sizes.action_space.shape[0])
    network = build(*sizes, torch.Generator().manual_seed(0))
    rollout = allocate(num_steps, envs.num_envs, sizes[0], network)
    to_world = partial(action, space=envs.action_space)
    generator = torch.Generator().manual_seed(1)
    following, episodes = collect(envs, network, normalise, to_world, envs.reset(0), rollout, generator)
    return network, rollout, following, episodes


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
        batch = prepare(rollout, network, RAW, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
        assert torch.equal(batch.action, rollout.action.flatten(0, 1))


def test_targets_bootstrap_the_true_last_observation_of_a_truncated_episode():
    """One-step episodes paid 1; those that observe 1 terminate (target 1), those that observe -1 are truncated and their
    last observation is -1 again (target 1 + gamma V(-1)), whatever the next episode starts with."""
    network, rollout, _, _ = roll(probe(8, 0, task="ending"), num_steps=16)
    batch = prepare(rollout, network, RAW, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
    with torch.no_grad():
        v = network.value(torch.tensor([[-1.0]])).item()
    ended = batch.obs[:, 0] == 1
    assert 0 < ended.sum() < 128
    torch.testing.assert_close(batch.target, torch.where(ended, 1.0, 1 + 0.9 * v))
    torch.testing.assert_close(batch.advantage, batch.target - batch.value)


def test_the_last_observation_is_neither_the_one_acted_on_nor_the_next_episodes_first():
    """It shows a clock: 4 where the last action was chosen, 5 where that led to, 0 after the reset."""
    network, rollout, _, _ = roll(vector(Counter, 2, 0, "Counter"), num_steps=5)
    batch = prepare(rollout, network, RAW, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
    assert rollout.next_obs[4, :, 1].tolist() == [5, 5] and rollout.terminated[4].tolist() == [True, False]
    with torch.no_grad():
        bootstrap = 0.9 * network.value(rollout.next_obs[4, 1])
    torch.testing.assert_close(batch.target[-1], rollout.reward[4, 1].float() + bootstrap)


def test_what_terminates_as_the_clock_runs_out_is_terminated():
    network, rollout, _, _ = roll(vector(Both, 2, 0, "Both"), num_steps=10)
    assert torch.equal(rollout.terminated, rollout.done) and rollout.done.sum() == 4
    batch = prepare(rollout, network, RAW, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
    ended = rollout.done.flatten()
    torch.testing.assert_close(batch.target[ended], rollout.reward.flatten()[ended].float())


def test_policy_and_critic_see_the_same_fixed_statistics():
    """Acting and preparing normalise alike; the rollout keeps the raw observations."""
    moments = Moments.empty(3).update(torch.tensor([[0.0, 1.0, 2.0], [4.0, 1.0, 8.0]]))
    normalise = ObsNormaliser.of(moments)
    network, rollout, _, _ = roll(option("env", "gym", id="Pendulum-v1")(2, 0), num_steps=4, normalise=normalise)
    batch = prepare(rollout, network, normalise, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
    expected = (rollout.obs - torch.tensor([2.0, 1.0, 5.0])) / torch.tensor([2.0, 1.0, 3.0])
    torch.testing.assert_close(batch.obs, expected.flatten(0, 1))
    torch.testing.assert_close(batch.policy.mean, network.policy(batch.obs).mean)
    torch.testing.assert_close(batch.value, network.value(batch.obs))


def test_each_epoch_visits_every_sample_once_in_a_new_order(problem):
    batch = problem(12).batch._replace(value=torch.arange(12.0), target=10 * torch.arange(12.0))
    g = torch.Generator().manual_seed(0)
    first, second = (shuffle(batch, 4, torch.randperm(12, generator=g)) for _ in range(2))
    for epoch in (first, second):
        assert epoch.obs.shape == (3, 4, 3) and epoch.policy.mean.shape == (3, 4, 2)
        assert sorted(epoch.value.flatten().tolist()) == list(range(12))
        assert torch.equal(epoch.target, 10 * epoch.value)  # the fields of a sample stay together
    assert not torch.equal(first.value, second.value)
    for k, minibatch in enumerate(unstack(first)):
        assert torch.equal(minibatch.obs, first.obs[k]) and torch.equal(minibatch.policy.mean, first.policy.mean[k])


def test_a_batch_has_memory_of_its_own():
    """The rollout is filled anew in every iteration, while the batch is still learned from."""
    network, rollout, _, _ = roll(probe(2, 0, task="target"), num_steps=3)
    batch = prepare(rollout, network, RAW, torch.Tensor.float, CPU, gamma=0.9, lam=0.8)
    action, mean = batch.action.clone(), batch.policy.mean.clone()
    rollout.action.fill_(77)
    rollout.policy.mean.fill_(77)
    assert torch.equal(batch.action, action) and torch.equal(batch.policy.mean, mean)


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


def test_minibatches_of_tensors_of_different_number_are_refused():
    x = torch.zeros(4, 8, 1)
    flags, groups = torch.ones(4, 8, dtype=torch.bool), torch.zeros(4, 8, dtype=torch.int64)
    batch = Batch(x, x, Gaussian(x, x), *[x[..., 0]] * 3, groups, flags, x)
    minibatches = unstack(batch)
    assert len(minibatches) == 4 and minibatches[3].policy.mean.shape == (8, 1) and minibatches[3].demo == ()
    with pytest.raises(ValueError, match="shorter"):
        unstack(batch._replace(policy=Gaussian(x, x[:3])))
