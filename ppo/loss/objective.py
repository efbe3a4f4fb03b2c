"""The policy objective, to be maximised. Each option is one function ``(log_ratio, advantage, low, high) -> [*B]``.

r = exp(log_ratio) is the probability ratio new / old, [low, high] the clip range of ``clip=``, A the advantage.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.control.width import Width

GRADIENT, NATURAL, DUAL = "gradient", "natural", "dual"  # by which steps an objective moves the policy
Number = float | Float[Tensor, ""]  # a width within the step: with match_kl= a tensor, so that nothing is compiled anew


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


def aspo(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], low: Float[Tensor, ""], high: Float[Tensor, ""]
) -> Float[Tensor, "*B"]:
    """``ppo`` where A >= 0, ``spo`` where A < 0: what was bad is led back, what was good may go on. FPO++, 2026."""
    good, bad = ppo(log_ratio, advantage, low, high, dual=None), spo(log_ratio, advantage, low, high)
    return torch.where(advantage >= 0, good, bad)


def soft(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    gate: Literal["step", "linear", "sigmoid"],
    softness: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """r A - stop_gradient(r A g) log new(a), whose gradient is (1 - g) r A grad log new(a). KLip-PPO, 2026.

    The gate g rises from 0 to 1 where ``ppo`` clips, at r = high for A > 0 and at r = low for A < 0: with e the excess
    of r over that bound, ``step`` is [e > 0], which gives the gradient of ``ppo``, ``linear`` is clip(e / softness + 1/2,
    0, 1) and ``sigmoid`` 1 / (1 + exp(-e / softness)). log new(a) is written as the log-ratio: the two differ by a constant.
    """
    ratio = torch.exp(log_ratio)
    excess = torch.where(advantage > 0, ratio - high, low - ratio).detach()
    if gate == "step":
        g = (excess > 0).to(ratio)
    elif gate == "linear":
        g = (excess / softness + 0.5).clamp(0.0, 1.0)
    else:
        g = torch.sigmoid(excess / softness)
    return ratio * advantage - (ratio * advantage * g).detach() * log_ratio


def dpo(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    alpha: Annotated[Number, Gt(0), Width(1e-3, 100.0)],
    beta: Annotated[Number, Gt(0), Width(1e-3, 100.0)],
) -> Float[Tensor, "*B"]:
    """r A - drift, found by search instead of by hand. Lu et al. 2022, Discovered Policy Optimisation, equation 9.

    drift = relu(u - alpha tanh(u / alpha)) with u = (r - 1) A where A >= 0, and relu(u - beta tanh(u / beta)) with
    u = A log r where A < 0. The clip range has no part in it.
    """
    ratio = torch.exp(log_ratio)
    up, down = (ratio - 1) * advantage, log_ratio * advantage
    drift = torch.where(advantage >= 0, up - alpha * torch.tanh(up / alpha), down - beta * torch.tanh(down / beta))
    return ratio * advantage - torch.relu(drift)


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


@moved_by(DUAL)
def vmpo(
    log_ratio: Float[Tensor, "*B"],
    advantage: Float[Tensor, "*B"],
    low: Float[Tensor, ""],
    high: Float[Tensor, ""],
    *,
    eta: Annotated[Number, Gt(0)],
    alpha: Annotated[float, Gt(0)],
    eps_eta: Annotated[Number, Gt(0)],
    eps_mean: Annotated[Number, Gt(0), Width(1e-4, 10.0)],
    eps_deviation: Annotated[Number, Gt(0), Width(1e-6, 10.0)],
    rate: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """n psi log new(a) over the n samples: psi is the softmax of A / eta over the better half of them, 0 for the others.

    eta and a weight alpha each of KL(old || new) of the means and of the deviations, which the loss adds, start at the
    numbers given and are learned: see ``ppo.update.duals``, whose options the others are (rate: of Adam, on their
    logarithms). log new(a) is written as the log-ratio. A sample that is to be left out has an advantage of -infinity.
    Song et al. 2020, "V-MPO".
    """
    kept = better_half(advantage)
    psi = torch.softmax(torch.where(kept, advantage / eta, -torch.inf), -1).detach()
    return torch.isfinite(advantage).sum(-1, keepdim=True) * psi * log_ratio


def better_half(advantage: Float[Tensor, "*B"]) -> Bool[Tensor, "*B"]:
    """Which samples are among the better half of those with a finite advantage, one of them at least."""
    half = (torch.isfinite(advantage).sum(-1, keepdim=True) // 2).clamp(min=1)
    ranked = advantage.sort(dim=-1, descending=True).values
    return advantage >= ranked.gather(-1, half - 1)
