"""The policy as a rollout calls it: in numpy or by the module, the same."""

import math

import numpy as np
import pytest
import torch

from envs import native
from ppo.config.options import option
from ppo.network.acting import actor
from ppo.network.actor_critic import ACTIVATIONS
from ppo.network.normaliser import Moments, ObsNormaliser


@pytest.fixture
def compiler(request, monkeypatch):
    """With one, and without."""
    if not request.param:
        monkeypatch.setattr(native, "load", lambda *_: None)


WAYS = pytest.mark.parametrize(  # small enough for C or numpy, and too large
    ("width", "compiler"), [(16, True), (16, False), (4096, True)], ids=["C", "numpy", "wide"], indirect=["compiler"]
)
HEADS = [("mlp", {}), ("mlp", {"std_type": "scalar"}), ("gsde", {}), ("state_std", {})]


@pytest.mark.parametrize(("head", "options"), HEADS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@WAYS
def test_actions_are_those_of_the_module(compiler, head, options, activation, width):
    g = torch.Generator().manual_seed(0)
    build = option("network", head, actor=[width], critic=[4], activation=activation, log_std=-0.7, **options)
    network = build(3, 2, g)
    normalise = ObsNormaliser.of(Moments.empty(3).update(5 + 3 * torch.randn(50, 3, generator=g)), clip=2.0)
    obs, noise = 5 + 4 * torch.randn(4, 3, generator=g), network.noise(2, 4, g)[1]
    action, (mean, log_std), _ = actor(network, normalise, 4)(obs.numpy(), noise, ())
    with torch.no_grad():
        expected, policy = network.sample(normalise(obs), noise)
        assert policy.distance(network.policy(normalise(obs))) == 0
    np.testing.assert_allclose(mean, policy.mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.broadcast_to(log_std, (4, 2)), policy.log_std.detach().numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(action, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert action.dtype == mean.dtype == log_std.dtype == np.float32


@WAYS
def test_discrete_actions_are_those_of_the_module_and_have_its_probabilities(compiler, width):
    """10 000 rows of one observation: each action as often as stated, within four standard errors."""
    g, rows = torch.Generator().manual_seed(0), 10_000
    network = option("network", "categorical", actor=[width], critic=[4], orthogonal=False)(3, 4, g)
    with torch.no_grad():
        network.actor[2].weight.mul_(3)
        obs, noise = torch.randn(1, 3, generator=g).expand(rows, 3).contiguous(), network.noise(1, rows, g)[0]
        expected, policy = network.sample(obs, noise)
    for size in (100, rows):  # small enough for numpy at width 16, and too large
        act = actor(network, ObsNormaliser.identity(), size)
        action, (logits,), _ = act(obs[:size].numpy(), noise[:size], ())
        assert np.array_equal(action, expected[:size].numpy()) and action.dtype == np.int64
        np.testing.assert_allclose(logits, policy.logits[:size].numpy(), rtol=1e-5, atol=1e-5)
    p = torch.softmax(policy.logits[0], -1)
    assert p.max() > 1.2 * p.min()
    error = (torch.bincount(expected, minlength=4) / rows - p).abs()
    assert (error < 4 * (p * (1 - p) / rows).sqrt()).all()


@WAYS
def test_several_discrete_actions_are_those_of_the_module_and_have_its_probabilities(compiler, width):
    """As above, each of the three by itself; none is one that it does not have."""
    g, rows, sizes = torch.Generator().manual_seed(0), 10_000, (2, 4, 3)
    network = option("network", "categorical", actor=[width], critic=[4], orthogonal=False)(3, sizes, g)
    with torch.no_grad():
        network.actor[2].weight.mul_(3)
        obs, noise = torch.randn(1, 3, generator=g).expand(rows, 3).contiguous(), network.noise(1, rows, g)[0]
        expected, policy = network.sample(obs, noise)
    action, (logits,), _ = actor(network, ObsNormaliser.identity(), 100)(obs[:100].numpy(), noise[:100], ())
    assert np.array_equal(action, expected[:100].numpy()) and action.dtype == np.int64 and action.shape == (100, 3)
    np.testing.assert_allclose(logits, policy.logits[:100].numpy(), rtol=1e-5, atol=1e-5)
    assert logits.dtype == np.float32
    for k, p in enumerate(torch.softmax(policy.logits[0], -1)):
        error = (torch.bincount(expected[:, k], minlength=4) / rows - p).abs()
        assert (error <= 4 * (p * (1 - p) / rows).sqrt()).all() and (p[sizes[k] :] == 0).all()


def test_without_state_dependence_an_action_is_the_mean_and_a_deviation_times_the_noise():
    build = option("network", "mlp", actor=[4], critic=[4], log_std=-0.7)
    network = build(3, 2, torch.Generator().manual_seed(0))
    obs, noise = torch.randn(4, 3), torch.randn(4, 2)
    action, policy = network.sample(obs, noise)
    torch.testing.assert_close(action, policy.mean + math.exp(-0.7) * noise)
    drawn = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.stack(list(network.noise(5, 4, torch.Generator().manual_seed(1)))), drawn)


def test_a_network_of_another_build_is_called():
    class Doubled(torch.nn.Module):
        def forward(self, obs):
            return 2 * obs

    network = option("network", "mlp", actor=[4], critic=[4], log_std=0.0)(2, 2, torch.Generator())
    network.actor = torch.nn.Sequential(Doubled())
    action, (mean, log_std), _ = actor(network, ObsNormaliser.identity(), 3)(
        np.full((3, 2), 1.5, np.float32), torch.zeros(3, 2), ()
    )
    assert (action == 3).all() and (mean == 3).all() and (log_std == 0).all()
