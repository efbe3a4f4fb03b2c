"""The critic's losses: what minimises them."""

import math

import pytest
import torch

from ppo.config.options import option
from ppo.loss import value

SKEWED = {
    "exponential": lambda n: -torch.log1p(-(torch.arange(n) + 0.5) / n),
    "jackpot": lambda n: (torch.arange(n) < n // 10).float(),
}


@pytest.mark.parametrize("returns", SKEWED)
def test_the_value_of_a_quantile_critic_is_the_mean_of_skewed_returns(returns):
    """The quantile loss alone ends 13 % above the mean of an exponential: its quantiles are Huber's, not the true ones."""
    target = SKEWED[returns](1000)
    theta = torch.zeros(16, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.03)
    loss = option("value", "quantile", quantiles=16)
    for _ in range(400):
        optimiser.zero_grad()
        loss(theta.expand(1000, 16), target, target).mean().backward()
        optimiser.step()
    assert theta.mean().item() == pytest.approx(target.mean().item(), rel=0.01)
    spread = theta.detach().sort().values
    assert spread[-1] - spread[0] > 0.5, "the quantiles are spread as the returns are"


def test_moving_all_quantiles_together_is_left_to_the_squared_error():
    """The gradient of the second part adds up to 0, so that the mean follows (mean - target)^2 alone."""
    theta = torch.linspace(-1, 2, 8).requires_grad_()
    loss = value.quantile(theta[None], torch.tensor([3.0]), torch.zeros(1), quantiles=8, kappa=1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), theta)
    assert gradient.sum().item() == pytest.approx(2 * (0.5 - 3.0), rel=1e-5)
    assert math.isfinite(loss.item())
