"""State-dependent exploration: the distribution that is stated, and the noise that acts."""

import math

import numpy as np
import pytest
import torch

from ppo.config.options import option
from ppo.network.flat import box, flatten, unflatten
from ppo.network.gsde import Gsde
from ppo.network.normaliser import ObsNormaliser
from ppo.run.policy import sampled


def small(**options) -> Gsde:
    build = option("network", "gsde", **{"actor": [8, 5], "critic": [8]} | options)
    return build(3, 2, torch.Generator().manual_seed(0))


def test_the_variance_is_that_of_the_features_times_the_matrix():
    """One hidden unit that is 2 or 0, sigma 0.5 and 1.5: deviations 1 and 3, and the floor where the unit is off."""
    network = small(actor=[1], activation="relu", floor=0.01)
    with torch.no_grad():
        network.actor[0].weight.copy_(torch.tensor([[1.0, 0, 0]]))
        network.actor[0].bias.zero_()
        network.log_std.copy_(torch.tensor([[0.5, 1.5]]).log())
        sigma = network.policy(torch.tensor([[2.0, 7, 7], [-2.0, 7, 7]])).log_std.exp()
    torch.testing.assert_close(sigma, torch.tensor([[1.0, 3.0], [0.01, 0.01]]), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.0])  # with all features 0, what is left is the floor
def test_actions_have_the_distribution_that_is_stated(scale):
    """Moments over 40 000 matrices at one state: mean, deviation and no correlation between dimensions."""
    network, rows = small(log_std=-0.5, floor=0.1), 40_000
    with torch.no_grad():
        network.log_std.add_(0.3 * torch.randn(5, 2, generator=torch.Generator().manual_seed(1)))
        network.actor[2].weight.mul_(scale), network.actor[2].bias.mul_(scale)
        noise = network.noise(1, rows, torch.Generator().manual_seed(2))[0]
        action, policy = network.sample(torch.tensor([[0.5, -1.0, 2.0]]).expand(rows, 3), noise)
    z = (action - policy.mean) * torch.exp(-policy.log_std)
    assert z.mean(0).abs().max() < 4 / math.sqrt(rows)
    torch.testing.assert_close(z.T @ z / rows, torch.eye(2), rtol=0, atol=0.03)
    torch.testing.assert_close(z.pow(4).mean(0), torch.full((2,), 3.0), rtol=0, atol=0.15)  # as a Gaussian's


def test_a_matrix_is_kept_for_some_steps_and_every_sub_environment_has_its_own():
    draws = torch.stack(small(resample=4).noise(10, 3, torch.Generator().manual_seed(0))).numpy()
    assert draws.shape == (10, 3, 6, 2)
    assert [t for t in range(1, 10) if not np.array_equal(draws[t], draws[t - 1])] == [4, 8]
    assert len({row.tobytes() for row in draws.reshape(30, -1)}) == 9
    assert len(torch.stack(small(resample=1000).noise(10, 1, torch.Generator())).unique(dim=0)) == 1


@pytest.mark.parametrize("resample", [4, 100])
def test_a_sampled_evaluation_explores_anew_when_training_does(resample):
    """Whatever number of steps it draws the noise of at once."""
    act = sampled(small(resample=resample), ObsNormaliser.identity(), lambda action: action, 1, 0)
    actions = [float(act(torch.ones(1, 3), ())[0][0, 0]) for _ in range(201)]
    changes = [t for t in range(1, 201) if abs(actions[t] - actions[t - 1]) > 1e-6]
    assert changes == list(range(resample, 201, resample))


def test_the_same_state_meets_the_same_noise_until_the_next_draw():
    network, obs = small(resample=2), torch.ones(1, 3)
    noise = network.noise(4, 1, torch.Generator().manual_seed(0))
    actions = [network.sample(obs, draw)[0] for draw in noise]
    assert torch.equal(actions[0], actions[1]) and not torch.equal(actions[1], actions[2])


@pytest.mark.parametrize("learn", [False, True])
def test_the_deviation_moves_the_hidden_layers_only_where_asked_to(learn):
    network = small(learn_features=learn)
    network.policy(torch.randn(6, 3)).entropy().sum().backward()
    hidden = [p.grad for layer in network.actor[:-1] for p in layer.parameters()]
    assert all((g is not None and g.abs().max() > 0) == learn for g in hidden)
    assert network.log_std.grad.abs().min() > 0
    network.policy(torch.randn(6, 3)).mean.sum().backward()
    assert network.actor[0].weight.grad.abs().max() > 0


def test_the_matrix_lives_in_the_box():
    network = small(log_std_min=-3.0, log_std_max=1.0)
    flatten(network)
    low, high = (unflatten(network)(bound) for bound in box(network))
    assert low["log_std"].shape == (5, 2) and (low["log_std"] == -3).all() and (high["log_std"] == 1).all()
    assert all(torch.isinf(low[name]).all() for name in low if name != "log_std")


@pytest.mark.parametrize("options", [{"actor": []}, {"resample": 0}, {"floor": 0.0}, {"log_std": 3.0}])
def test_what_cannot_be_built_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        small(**options)
