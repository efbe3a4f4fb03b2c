"""A policy held to a trust region state by state. Each option is one function ``() -> Projection | None``.

The ratio of the objective is then that of the projected policy, and the loss pulls the network towards it.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor

from ppo.control.width import Width
from ppo.network.distributions import Gaussian, Policy

Number = float | Float[Tensor, ""]  # a bound: with match_kl= a tensor, so that nothing is compiled anew
G = TypeVar("G", bound=Gaussian)


class Projection(NamedTuple):
    project: Callable[..., Any]  # (old, new) -> the nearest policy to ``new`` within the bounds around ``old``
    coef: float  # weight of KL(new || projected) in the loss


def none() -> None:
    """The policy is the network's."""
    return


def trpl(
    *,
    mean: Annotated[Number, Gt(0), Width(1e-4, 10.0)],
    deviation: Annotated[Number, Gt(0), Width(1e-7, 10.0)],
    metric: Literal["w2", "frobenius"],
    coef: Annotated[float, Ge(0)],
) -> Projection:
    """Differentiable projection of means and deviations, each within a bound of its own: see ``diagonal``.

    loss += coef KL(new || projected), the projected policy as a fixed target. Otto et al. 2021, "Differentiable Trust
    Region Layers for Deep Reinforcement Learning".
    """
    return Projection(partial(diagonal, mean=mean, deviation=deviation, metric=metric), coef)


def diagonal(old: G, new: G, *, mean: Number, deviation: Number, metric: str) -> G:
    """The Gaussian nearest to ``new`` within the bounds around ``old``, state by state, in closed form.

    Means: with m = sum_d ((mu - mu_old) / sigma_old)^2 / 2 and w = sqrt(m / mean) - 1, where m > mean
    mu' = (mu + w mu_old) / (1 + w), so that m' = mean. Deviations likewise, of sigma by
    sum_d (1 - sigma / sigma_old)^2 (``w2``: the Wasserstein-2 distance in units of the old deviation), or of sigma^2 by
    sum_d (sigma^2 - sigma_old^2)^2 (``frobenius``). Within its bound either is left as it is, to the bit.
    """
    moved = new.mean - old.mean
    m = 0.5 * (moved * torch.exp(-old.log_std)).square().sum(-1, keepdim=True)
    mu = torch.where(m > mean, old.mean + _shorter(m, mean) * moved, new.mean)
    power = 1 if metric == "w2" else 2
    before, after = torch.exp(power * old.log_std), torch.exp(power * new.log_std)
    apart = ((after - before) / before if metric == "w2" else after - before).square().sum(-1, keepdim=True)
    held = before + _shorter(apart, deviation) * (after - before)  # between the two, and so above 0
    return new._replace(mean=mu, log_std=torch.where(apart > deviation, held.log() / power, new.log_std))


def _shorter(distance: Tensor, bound: Number) -> Tensor:
    """1 / (1 + w): of the way, how much is left. Clamped from below, so that the gradient is finite at a distance of 0."""
    bound = bound.to(distance) if isinstance(bound, Tensor) else distance.new_full((), bound)
    return (bound / torch.maximum(distance, bound)).sqrt()


def pull(new: Policy, projected: Policy) -> Float[Tensor, "*B"]:
    """KL(new || projected), the latter without a gradient [nats]."""
    return new.kl(type(projected)(*(x.detach() for x in projected)))
