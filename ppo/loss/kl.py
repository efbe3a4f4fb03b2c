"""The KL family. Each option is one function ``(old, new, log_ratio) -> [*B]`` in nats, of the pair (old, new).

``old`` acted, ``new`` is being trained, both at the states of the rollout, and ``log_ratio = log new(a) - log old(a)``
for the action a ~ old. The closed forms ignore ``log_ratio``; the sampled ones ignore the distributions.
Sampled estimators: J. Schulman, "Approximating KL divergence" (2020).

Every option says whether it is sampled, and is thereby measured in each update, whichever of them kl= chooses; of a
sampled one its error is logged too. A new estimator is a function here and a yaml of its name.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.network.distributions import Policy

Estimator = Callable[[Policy, Policy, Tensor], Tensor]
FAMILY: dict[str, Estimator] = {}  # all that is measured, by name
SAMPLED: set[str] = set()  # those of them that see the actions alone


def name_of(kl: Estimator) -> str:
    """What kl= calls it; an option bound to its choices is a ``partial``."""
    return getattr(kl, "func", kl).__name__


def closed_form(function: Estimator) -> Estimator:
    """An estimator without noise, from the distributions."""
    FAMILY[name_of(function)] = function
    return function


def sampled(function: Estimator) -> Estimator:
    """An estimator from the actions alone, whose error is logged: its mean less that of ``exact``."""
    SAMPLED.add(name_of(function))
    return closed_form(function)


@closed_form
def exact(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """KL(old || new) in closed form: no action noise, >= 0, and 0 only where the two are equal."""
    return old.kl(new)


@closed_form
def reverse(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """KL(new || old) in closed form; mode seeking."""
    return new.kl(old)


@closed_form
def jeffreys(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(KL(old || new) + KL(new || old)) / 2: symmetric."""
    return 0.5 * (old.kl(new) + new.kl(old))


@sampled
def k1(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """-r: unbiased for KL(old || new), noisy, often negative."""
    return -log_ratio


@sampled
def k2(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """r^2 / 2: biased, >= 0."""
    return 0.5 * log_ratio.square()


@sampled
def k3(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(e^r - 1) - r: unbiased for KL(old || new), >= 0, low variance."""
    return torch.expm1(log_ratio) - log_ratio


@sampled
def k1_clamped(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """max(-r, 0): biased upward. Kept only so that this widespread mistake can be reproduced in a comparison."""
    return (-log_ratio).clamp(min=0)
