"""Distributions over actions: log probability, ratio, entropy and exact KL. Public: ``Gaussian``, ``Squashed``,
``Categorical``, ``Several``.

Every method works on any leading axes ``*B`` and sums over the action dimensions.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from envs.device import constant

_LOG_2PI = math.log(2 * math.pi)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_HERMITE = (_NODES, _WEIGHTS / _WEIGHTS.sum())  # the mean of f(x), x standard normal, is weights . f(nodes)


@runtime_checkable
class Policy(Protocol):
    """A distribution over actions, one for each of ``[*B]`` states: a NamedTuple of its parameters that knows these.

    An action is ``[*B, A]``, or int64 where actions are discrete: ``[*B]``, or ``[*B, K]`` where there are several at once.
    ``old`` and ``other`` are of the same kind.
    """

    def __iter__(self) -> Iterator[Tensor]: ...

    def log_prob(self, action: Tensor) -> Tensor: ...

    def log_ratio(self, old: Any, action: Tensor) -> Tensor: ...

    def entropy(self) -> Tensor: ...

    def kl(self, other: Any) -> Tensor: ...

    def parts(self, other: Any) -> dict[str, Tensor]: ...

    def distance(self, other: Any) -> Tensor: ...

    def sharpness(self) -> Tensor: ...

    def mode(self) -> Tensor: ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor: ...


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
        """Differential entropy, sum_d (log std + log(2 pi e) / 2) [nats]."""
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

    def parts(self, other: "Gaussian") -> dict[str, Float[Tensor, "*B A"]]:
        """What there is to say of ``other`` by action dimension; the ``*_part`` add up to KL(self || other)."""
        mean_part, std_part = self.kl_parts(other)
        return {"kl/mean_part": mean_part, "kl/sigma_part": std_part, "policy/sigma": other.log_std.exp()}

    def distance(self, other: "Gaussian") -> Float[Tensor, ""]:
        """The largest difference of any parameter: of a mean in units of its deviation, of a log std as it is."""
        moved = (self.mean - other.mean).abs() * torch.exp(-self.log_std)
        return torch.maximum(moved.max(), (self.log_std - other.log_std).abs().max())

    def sharpness(self) -> Float[Tensor, ""]:
        """How strongly ``distance`` and log-ratio magnify the rounding of a parameter: the largest max(1, |mean|) / std."""
        return (self.mean.abs().clamp(min=1) * torch.exp(-self.log_std)).max().clamp(min=1)

    def mode(self) -> Float[Tensor, "*B A"]:
        """The action of a deterministic policy."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "*B A"]:
        """One action per distribution, mean + std * noise; no gradient flows through it."""
        with torch.no_grad():
            noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
            return self.mean + torch.exp(self.log_std) * noise


class Squashed(Gaussian):
    """The distribution of tanh(action), action ~ the Gaussian, as a density on (-1, 1)^A.

    Actions are still given before the tanh, and KL and ratio are the Gaussian's own: a fixed bijection changes neither.
    What it changes is densities, and so the entropy, by E[log |d tanh|]. The Gaussian's entropy grows with its deviation
    without end, while the actions it stands for gather at -1 and 1; this one has a greatest value, A log 2.
    """

    __slots__ = ()

    def log_prob(self, action: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
        """log density of tanh(action) [nats]."""
        return super().log_prob(action) - _log_slope(action).sum(-1)

    def entropy(self) -> Float[Tensor, "*B"]:
        """Differential entropy of tanh(action), by Gauss-Hermite quadrature of 32 nodes a dimension [nats].

        Off by 3e-5 at most up to a deviation of e^0.5, by 2e-3 at e, by 0.1 at e^2.
        """
        nodes, weights = (constant(self.mean, x.tolist()) for x in _HERMITE)
        action = self.mean[..., None] + self.log_std.exp()[..., None] * nodes
        return super().entropy() + (_log_slope(action) @ weights).sum(-1)


def _log_slope(action: Tensor) -> Tensor:
    """log(d tanh(a) / da) = log(1 - tanh(a)^2), written so that it does not round to log 0."""
    return 2 * (math.log(2) - action - torch.nn.functional.softplus(-2 * action))


class Categorical(NamedTuple):
    """One of ``n`` actions. ``logits``: [*B, n], not normalised."""

    logits: Tensor  # [*B, n]

    def log_prob(self, action: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """log p(action) [nats]."""
        return self._log_p().gather(-1, action[..., None]).squeeze(-1)

    def log_ratio(self, old: "Categorical", action: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """log self(action) - log old(action) [nats]."""
        return self.log_prob(action) - old.log_prob(action)

    def entropy(self) -> Float[Tensor, "*B"]:
        """-sum_a p log p, where p = 0 counts as 0 [nats]."""
        log_p = self._log_p()
        p = torch.exp(log_p)
        return -(p * torch.where(p > 0, log_p, 0)).sum(-1)

    def kl(self, other: "Categorical") -> Float[Tensor, "*B"]:
        """KL(self || other) = sum_a p (log p - log q), where p = 0 counts as 0 [nats].

        Summed as p (expm1(d) - d) with d = log q - log p: the same, since p and q both add up to 1, but no term is
        negative and those of nearly equal policies keep their digits in float32. Far apart, as q - p - p d.
        """
        log_p, log_q = self._log_p(), other._log_p()
        p = torch.exp(log_p)
        d = torch.where(p > 0, log_q - log_p, 0)
        close = d.clamp(-1, 1)
        far = torch.exp(log_q) - p - p * d
        return torch.where((p > 0) & (d.abs() < 1), p * (torch.expm1(close) - close), far).sum(-1)

    def parts(self, other: "Categorical") -> dict[str, Tensor]:
        """Nothing: there are no action dimensions."""
        return {}

    def distance(self, other: "Categorical") -> Float[Tensor, ""]:
        """The largest difference of any log probability; of actions that neither takes, as where they are masked, none."""
        log_p, log_q = self._log_p(), other._log_p()
        return torch.where((log_p.exp() == 0) & (log_q.exp() == 0), 0, log_p - log_q).abs().max()

    def sharpness(self) -> Float[Tensor, ""]:
        """How strongly ``distance`` and log-ratio magnify the rounding of a parameter: the largest logit of an action that it
        takes, at least 1."""
        return torch.where(self._log_p().exp() == 0, 0, self.logits).abs().max().clamp(min=1)

    def mode(self) -> Int[Tensor, "*B"]:
        """The most probable action."""
        return self.logits.argmax(-1)

    def sample(self, generator: torch.Generator | None = None) -> Int[Tensor, "*B"]:
        """One action per distribution: the largest of logits + Gumbel noise."""
        with torch.no_grad():
            noise = torch.empty_like(self.logits).exponential_(generator=generator).log()
            return (self.logits - noise).argmax(-1)

    def _log_p(self) -> Tensor:
        return torch.log_softmax(self.logits, -1)


class Several(NamedTuple):
    """K discrete actions at once, independent of each other: a product of categoricals, as MultiDiscrete spaces need it.

    ``logits``: [*B, K, n], -inf where the k-th has fewer than n. Log probability, entropy and KL are sums over the K.
    """

    logits: Tensor  # [*B, K, n]

    def log_prob(self, action: Int[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """log p(action) [nats]."""
        return self._each.log_prob(action).sum(-1)

    def log_ratio(self, old: "Several", action: Int[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """log self(action) - log old(action) [nats]."""
        return self._each.log_ratio(old._each, action).sum(-1)

    def entropy(self) -> Float[Tensor, "*B"]:
        """The sum of the factors' entropies [nats]."""
        return self._each.entropy().sum(-1)

    def kl(self, other: "Several") -> Float[Tensor, "*B"]:
        """KL(self || other), exact: the sum of the factors' [nats]."""
        return self._each.kl(other._each).sum(-1)

    def parts(self, other: "Several") -> dict[str, Tensor]:
        """Nothing, as for one."""
        return {}

    def distance(self, other: "Several") -> Float[Tensor, ""]:
        """As of one."""
        return self._each.distance(other._each)

    def sharpness(self) -> Float[Tensor, ""]:
        """As of one."""
        return self._each.sharpness()

    def mode(self) -> Int[Tensor, "*B K"]:
        """The most probable action of each."""
        return self._each.mode()

    def sample(self, generator: torch.Generator | None = None) -> Int[Tensor, "*B K"]:
        """One action of each."""
        return self._each.sample(generator)

    @property
    def _each(self) -> Categorical:
        return Categorical(self.logits)
