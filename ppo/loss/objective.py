"""The policy objective, to be maximised. Each option is one function ``(log_ratio, advantage, low, high) -> [*B]``.

r = exp(log_ratio) is the probability ratio new / old, [low, high] the clip range of ``clip=``, A the advantage.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from jaxtyping import Float
from torch import Tensor

GRADIENT, NATURAL = "gradient", "natural"  # by which steps an objective moves the policy


def moved_by(steps: str) -> Callable:
    """Says so of an option; what says nothing is moved by gradient steps."""

    def mark(function: Callable) -> Callable:
        setattr(function, "steps", steps)  # noqa: B010 - a function's attribute has no type
        return function

    return mark


def ppo(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    dual: Annotated[float, Gt(1)] | None,
) -> Float[Tensor, "*B"]:
    """min(r A, clip(r, low, high) A). Schulman et al. 2017, equation 7.

    dual: where A < 0, at least dual * A (dual > 1, usually 3), so that a bad action that became likely does not rule
        the gradient. Ye et al. 2020.
    """
    ratio = torch.exp(log_ratio)
    objective = torch.minimum(ratio * advantage, torch.clamp(ratio, low, high) * advantage)
    if dual is None:
        return objective
    return torch.where(advantage < 0, torch.maximum(objective, dual * advantage), objective)


def spo(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], low: Float[Tensor, ""], high: Float[Tensor, ""]
) -> Float[Tensor, "*B"]:
    """r A - |A| (r - 1)^2 / (2 eps), eps = high - 1 above r = 1 and 1 - low below. Xie et al. 2024.

    Best at the edge of the range, and beyond it the gradient leads back, where that of ``ppo`` is gone.
    """
    ratio = torch.exp(log_ratio)
    eps = torch.where(ratio > 1, high - 1, 1 - low)
    return ratio * advantage - advantage.abs() * (ratio - 1).square() / (2 * eps)


def truly(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    alpha: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """min(r A, F(r) A); F(r) = r within the range, outside the bound and ``alpha`` of the excess *back*.

    Above high -alpha r + (1 + alpha) high, below low the same with low: the slope of ``ppo`` outside is 0, here it is
    -alpha. PPO-RB of Wang et al. 2019 (Truly PPO).
    """
    ratio = torch.exp(log_ratio)
    kept = torch.clamp(ratio, low, high)
    return torch.minimum(ratio * advantage, (kept - alpha * (ratio - kept)) * advantage)


def none(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], low: Float[Tensor, ""], high: Float[Tensor, ""]
) -> Float[Tensor, "*B"]:
    """A log r: the plain policy gradient A grad log pi, whatever the ratio. (``ppo`` with ``clip=none`` is r A.)"""
    return log_ratio * advantage


@moved_by(NATURAL)
def trpo(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    cg_steps: Annotated[int, Ge(1)],
    damping: Annotated[float, Gt(0)],
    backtracks: Annotated[int, Ge(1)],
    shrink: Annotated[float, Interval(gt=0, lt=1)],
) -> Float[Tensor, "*B"]:
    """r A under the hard constraint KL(old || new) <= target_kl. Schulman et al. 2015, equation 14.

    The options are those of the step by which the policy then moves: see ``ppo.update.natural``. The minibatch steps of
    an update train the critic alone.
    """
    return torch.exp(log_ratio) * advantage
