"""Running statistics, and what the networks see of an observation. float64, pure, checkpointed.

They move only where ``train()`` says so, never while acting or evaluating.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPS = torch.finfo(torch.float32).eps


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations of everything seen; float64. Shape of ``mean``: one sample's."""

    count: Tensor  # []
    mean: Tensor  # [*D]
    m2: Tensor  # [*D]

    @staticmethod
    def empty(*shape: int, device: torch.device | str = "cpu") -> "Moments":
        zeros = torch.zeros(shape, dtype=torch.float64, device=device)
        return Moments(torch.zeros((), dtype=torch.float64, device=device), zeros, zeros.clone())

    def update(self, samples: Float[Tensor, "N *D"], mask: Bool[Tensor, "*B"] | tuple[()] = ()) -> "Moments":
        """With ``N`` more samples, as if all had been seen at once (Chan et al. 1979); only with those of ``mask``, at least
        one of ``N``, where it is given."""
        samples = samples.double()
        if isinstance(mask, Tensor):
            weight = mask.double().view(-1, *(1 for _ in samples.shape[1:]))
            number, samples = weight.sum(), weight * samples
            mean = samples.sum(0) / number
            deviation = samples - weight * mean
        else:
            number, mean = len(samples), samples.mean(0)
            deviation = samples - mean
        count, delta = self.count + number, mean - self.mean
        m2 = self.m2 + deviation.square().sum(0) + delta.square() * self.count * number / count
        return Moments(count, self.mean + delta * number / count, m2)

    @property
    def std(self) -> Tensor:
        """Population standard deviation; 1 while nothing is known and for what never varied.

        The mean of equal numbers differs from them by rounding: a deviation of 1e-12 of the mean is none.
        """
        std = (self.m2 / self.count.clamp(min=1)).sqrt()
        return torch.where(std <= 1e-12 * self.mean.abs(), 1.0, std)

    def rounded(self, eps: float) -> Tensor:
        """[*D] bool: what came with the relative resolution ``eps`` and varied by less than two of its steps, so that its
        digits are rounding."""
        return self.std <= 2 * eps * self.mean.abs()


class ObsNormaliser(NamedTuple):
    """What the networks see of an observation: (obs - mean) / std in float64, clipped to +-clip, then float32."""

    mean: Tensor  # [O]
    std: Tensor  # [O]
    clip: float
    eps: float = EPS  # the relative resolution of what comes in or, where nothing is subtracted, of what goes out

    @staticmethod
    def of(moments: Moments, eps: float = EPS, *, clip: float = 10.0) -> "ObsNormaliser":
        """By these statistics, as they are now. What varies by no more than the resolution ``eps`` is not blown up."""
        return ObsNormaliser(moments.mean, torch.where(moments.rounded(eps), 1.0, moments.std), clip, eps)

    @staticmethod
    def identity(device: torch.device | str = "cpu") -> "ObsNormaliser":
        """Observations as they are."""
        return ObsNormaliser(torch.zeros((), device=device), torch.ones((), device=device), math.inf)

    def __call__(self, obs: Float[Tensor, "*B O"]) -> Float[Tensor, "*B O"]:
        return ((obs - self.mean) / self.std).clamp(-self.clip, self.clip).float()
