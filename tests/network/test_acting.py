"""The policy as a rollout calls it: in numpy or by the module, the same."""

import numpy as np
import pytest
import torch

from ppo.network.acting import actor
from ppo.network.actor_critic import ACTIVATIONS, mlp
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.types import tree_map


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [16, 4096])  # small enough for numpy, and too large
def test_actions_are_those_of_the_module(activation, width):
    g = torch.Generator().manual_seed(0)
    network = mlp(3, 2, g, actor=[width], critic=[4], activation=activation, log_std=-0.7)
    normalise = ObsNormaliser.of(Moments.empty(3).update(5 + 3 * torch.randn(50, 3, generator=g)), clip=2.0)
    obs, noise = 5 + 4 * torch.randn(4, 3, generator=g), torch.randn(4, 2, generator=g)
    action, acted = actor(network, normalise, 4)(obs.numpy(), noise.numpy())
    with torch.no_grad():
        policy = tree_map(torch.detach, network.policy(normalise(obs)))
    np.testing.assert_allclose(acted.mean, policy.mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.broadcast_to(acted.log_std, (4, 2)), policy.log_std.numpy())
    np.testing.assert_allclose(action, (policy.mean + policy.log_std.exp() * noise).numpy(), rtol=1e-5, atol=1e-6)
    assert action.dtype == acted.mean.dtype == np.float32


def test_a_network_of_another_build_is_called():
    class Doubled(torch.nn.Module):
        def forward(self, obs):
            return 2 * obs

    network = mlp(2, 2, torch.Generator(), actor=[4], critic=[4], log_std=0.0)
    network.actor = Doubled()
    action, acted = actor(network, ObsNormaliser.identity(), 3)(np.full((3, 2), 1.5, np.float32), np.zeros((3, 2)))
    assert (action == 3).all() and (acted.mean == 3).all() and (acted.log_std == 0).all()
