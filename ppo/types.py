"""The data that flows through the rooms: what acted, what happened, what is learned from.

Axes: time is axis 0 of a rollout, samples are the last axis of a batch, every other axis is free.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """Diagonal Gaussian over actions. ``mean`` and ``log_std`` are ``[*B, A]``; every method sums over ``A``.

    Squashing (tanh) or clipping an action afterwards is a fixed map of the world and changes neither KL nor ratio,
    so everything here is computed on the unsquashed action.
    """

    mean: Tensor  # [*B, A]
    log_std: Tensor  # [*B, A]

    def log_prob(self, action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
        """log N(action; mean, std^2), summed over action dimensions [nats]."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * z.square() - self.log_std - 0.5 * _LOG_2PI).sum(-1)

    def log_ratio(self, old: "Gaussian", action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
        """log self(action) - log old(action), summed over action dimensions [nats].

        Dimension by dimension, (z_old - z)(z_old + z) / 2 + log std_old - log std: the difference of two log
        probabilities would carry the rounding of two large numbers, this is exactly 0 where the two are equal.
        """
        z_old = (action - old.mean) * torch.exp(-old.log_std)
        z = (action - self.mean) * torch.exp(-self.log_std)
        return (0.5 * (z_old - z) * (z_old + z) + (old.log_std - self.log_std)).sum(-1)

    def entropy(self) -> Float[Tensor, "*B"]:
        """Differential entropy, sum_d [log std + log(2 pi e) / 2] [nats]."""
        return (self.log_std + 0.5 * (1 + _LOG_2PI)).sum(-1)

    def kl_parts(self, other: "Gaussian") -> tuple[Float[Tensor, "*B A"], Float[Tensor, "*B A"]]:
        """KL(self || other) by action dimension, as (part of the means, part of the deviations) [nats].

        With x = 2 (log std_self - log std_other):  ((mu_self - mu_other) / std_other)^2 / 2  and  (expm1(x) - x) / 2.
        ``expm1`` keeps the second part exact near zero in float32, where std ratios and logs cancel badly. No epsilon:
        KL(p, p) is 0, not nearly 0.
        """
        x = 2 * (self.log_std - other.log_std)
        mean_part = 0.5 * ((self.mean - other.mean) * torch.exp(-other.log_std)).square()
        return mean_part, 0.5 * (torch.expm1(x) - x)

    def kl(self, other: "Gaussian") -> Float[Tensor, "*B"]:
        """KL(self || other) in closed form, summed over action dimensions [nats]."""
        mean_part, std_part = self.kl_parts(other)
        return (mean_part + std_part).sum(-1)

    def distance(self, other: "Gaussian") -> Float[Tensor, ""]:
        """The largest difference of any parameter: of a mean in units of its deviation, of a log std as it is."""
        moved = (self.mean - other.mean).abs() * torch.exp(-self.log_std)
        return torch.maximum(moved.max(), (self.log_std - other.log_std).abs().max())

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B A"]:
        """One action per distribution, mean + std * noise; no gradient flows through it."""
        with torch.no_grad():
            noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
            return self.mean + torch.exp(self.log_std) * noise


class Transition(NamedTuple):
    """One vector step of ``N`` sub-environments; stacked over time, a rollout ``[T, N, ...]``."""

    obs: Tensor  # [N, O] as the environment gave it, not normalised
    action: Tensor  # [N, A] as it was sampled; the environment may have received it clipped or squashed
    policy: Gaussian  # the behaviour distribution it was sampled from
    reward: Tensor  # [N] as the environment gave it
    next_obs: Tensor  # [N, O] the true successor, before any reset
    terminated: Tensor  # [N] bool: nothing follows, no bootstrap
    done: Tensor  # [N] bool: terminated or truncated, the trace is cut
    group: Tensor  # [N] int64: group id for norm=group


class Batch(NamedTuple):
    """Samples to learn from: ``[B, ...]`` after ``prepare``, ``[K, M, ...]`` once shuffled into K minibatches of M."""

    obs: Float[Tensor, "*B O"]  # normalised
    action: Float[Tensor, "*B A"]
    policy: Gaussian  # the behaviour policy, fixed for all epochs
    value: Float[Tensor, "*B"]  # the critic's prediction before the update
    target: Float[Tensor, "*B"]  # what the critic should predict
    advantage: Float[Tensor, "*B"]
    group: Int[Tensor, "*B"]
    mask: Bool[Tensor, "*B"]  # False: no gradient from this sample, and it enters no statistic
    noise: Float[Tensor, "*B A"]  # added to the mean of the policy being trained, in the objective alone; A = 0: none


def tree_map(function, *trees):
    """Apply ``function`` to the corresponding tensors of equally shaped (nested) NamedTuples."""
    if isinstance(trees[0], Tensor):
        return function(*trees)
    return type(trees[0])(*(tree_map(function, *leaves) for leaves in zip(*trees, strict=True)))
