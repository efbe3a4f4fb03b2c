"""What ``objective=vmpo`` learns beside the network: a temperature, and a weight each for the KL of means and deviations.

Lagrange multipliers: they move after every minibatch so that the constraints whose price they are just hold.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from ppo.loss.objective import better_half
from ppo.loss.terms import KL_OF_DEVIATIONS, KL_OF_MEANS
from ppo.update.optim import Learner

ETA = "objective.eta"  # as the knobs know it
Move = Callable[[Learner, Tensor, Tensor, Mapping[str, Tensor]], Learner]


def into(knobs: Any, duals: Learner) -> Any:
    """The knobs of a step, with temperature and weights as they have been learned."""
    eta, *alphas = duals.params.exp().unbind()
    weights = dict(zip((KL_OF_MEANS, KL_OF_DEVIATIONS), alphas, strict=True))
    return knobs._replace(width=knobs.width | {ETA: eta}, coef=knobs.coef | weights)


def loss(
    logs: Float[Tensor, " 3"],
    advantage: Float[Tensor, " M"],
    kl: Float[Tensor, " 2"],
    *,
    eps_eta: float | Tensor,
    eps_mean: float | Tensor,
    eps_deviation: float | Tensor,
) -> Float[Tensor, ""]:
    """eta eps_eta + eta log mean exp(A / eta) over the better half, + alpha (eps - KL) for means and deviations.

    ``kl``: of both, on this minibatch. Song et al. 2020, equations 4 and 5.
    """
    eta, *alphas = logs.exp().unbind()
    better = better_half(advantage)
    exponents = torch.where(better, torch.where(better, advantage, 0) / eta, -torch.inf)  # no gradient of -inf / eta
    temperature = eta * eps_eta + eta * (torch.logsumexp(exponents, -1) - better.sum().log())
    return temperature + sum(a * (eps - k) for a, eps, k in zip(alphas, (eps_mean, eps_deviation), kl, strict=True))


def build_duals(options: Mapping[str, float], optimiser: Callable, like: Tensor) -> tuple[Learner, Move]:
    """(the duals' own learner, ``move(duals, advantage, kl, moved) -> duals`` after a minibatch), by the options of
    ``objective.vmpo``; ``moved``: bounds that match_kl= moves.

    The learner's parameters are logarithms of eta and both alphas, so that these stay above 0.
    """
    bounds = {key: options[key] for key in ("eps_eta", "eps_mean", "eps_deviation")}
    start = Learner.start(like.new_tensor([options["eta"], options["alpha"], options["alpha"]]).log())

    def move(duals: Learner, advantage: Tensor, kl: Tensor, moved: Mapping[str, Tensor]) -> Learner:
        gradient = grad(partial(loss, **{**bounds, **moved}))(duals.params, advantage, kl)
        return optimiser(duals, gradient, duals.params.new_full((), options["rate"]))

    return start, move
