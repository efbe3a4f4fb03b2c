"""The KL family. Each option is one function ``(old, new, log_ratio) -> [*B]`` in nats, of the pair (old, new).

``old`` acted, ``new`` is being trained, both at the states of the rollout, and ``log_ratio = log new(a) - log old(a)``
for the action a ~ old. The closed forms ignore ``log_ratio``; the sampled ones ignore the distributions.
Sampled estimators: J. Schulman, "Approximating KL divergence" (2020).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.network.distributions import Policy


def exact(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """KL(old || new) in closed form: no action noise, >= 0, and 0 only where the two are equal."""
    return old.kl(new)


def reverse(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """KL(new || old) in closed form; mode seeking."""
    return new.kl(old)


def jeffreys(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(KL(old || new) + KL(new || old)) / 2: symmetric."""
    return 0.5 * (old.kl(new) + new.kl(old))


def k1(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """-r: unbiased for KL(old || new), noisy, often negative."""
    return -log_ratio


def k2(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """r^2 / 2: biased, >= 0."""
    return 0.5 * log_ratio.square()


def k3(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(e^r - 1) - r: unbiased for KL(old || new), >= 0, low variance."""
    return torch.expm1(log_ratio) - log_ratio


def k1_clamped(old: Policy, new: Policy, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """max(-r, 0): biased upward. Kept only so that this widespread mistake can be reproduced in a comparison."""
    return (-log_ratio).clamp(min=0)
