"""Minibatches: every sample once in an epoch, its fields together."""

import pytest
import torch

from ppo.buffer.data import Batch
from ppo.buffer.minibatches import shuffle, unstack
from ppo.network.distributions import Gaussian


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


def test_minibatches_of_tensors_of_different_number_are_refused():
    x = torch.zeros(4, 8, 1)
    flags, groups = torch.ones(4, 8, dtype=torch.bool), torch.zeros(4, 8, dtype=torch.int64)
    batch = Batch(x, x, Gaussian(x, x), *[x[..., 0]] * 3, groups, flags, x)
    minibatches = unstack(batch)
    assert len(minibatches) == 4 and minibatches[3].policy.mean.shape == (8, 1) and minibatches[3].demo == ()
    with pytest.raises(ValueError, match="shorter"):
        unstack(batch._replace(policy=Gaussian(x, x[:3])))
