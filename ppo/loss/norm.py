"""Advantage normalisation. Each option is one function ``(advantage, group, mask, last) -> (advantage, kept)``.

advantage, group and mask are ``[K, M]``: K minibatches of M samples. ``kept`` is a number to remember, and ``last`` what
the last update kept; None where an option remembers nothing, and before the first update.

A masked-out sample (mask False) enters no statistic and comes out as 0. Statistics divide by the sample standard
deviation (ddof 1), never by a variance, and a set without spread (constant, or of one sample) comes out as 0: dividing
rounding errors by rounding errors would invent a signal.
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from jaxtyping import Bool, Float, Int
from torch import Tensor

Normalised = tuple[Float[Tensor, "K M"], Float[Tensor, ""] | None]
_IQR_OF_STANDARD_NORMAL = 1.3489795003921634  # 2 * Phi^-1(3/4)


def none(
    advantage: Float[Tensor, "K M"], group: Int[Tensor, "K M"], mask: Bool[Tensor, "K M"], last: float | None
) -> Normalised:
    """The advantages as they are."""
    return torch.where(mask, advantage, 0), None


def minibatch(
    advantage: Float[Tensor, "K M"], group: Int[Tensor, "K M"], mask: Bool[Tensor, "K M"], last: float | None
) -> Normalised:
    """Mean 0 and deviation 1 within each minibatch (the usual PPO choice)."""
    row = torch.arange(len(advantage), device=advantage.device)[:, None].expand_as(advantage)
    return _standardise(advantage, row, len(advantage), mask), None


def global_(
    advantage: Float[Tensor, "K M"], group: Int[Tensor, "K M"], mask: Bool[Tensor, "K M"], last: float | None
) -> Normalised:
    """Mean 0 and deviation 1 over the whole rollout."""
    return _standardise(advantage, torch.zeros_like(group), 1, mask), None


def group(
    advantage: Float[Tensor, "K M"], group: Int[Tensor, "K M"], mask: Bool[Tensor, "K M"], last: float | None
) -> Normalised:
    """Mean 0 and deviation 1 within each group of samples (robot, task, terrain ...), over the whole rollout."""
    return _standardise(advantage, _dense(group), group.numel(), mask), None


def robust(
    advantage: Float[Tensor, "K M"], group: Int[Tensor, "K M"], mask: Bool[Tensor, "K M"], last: float | None
) -> Normalised:
    """(a - median) / (IQR / 1.349) over the whole rollout: one wild sample in a hundred hardly moves the others.

    Where more than half of the samples are equal the IQR is 0 and the standard deviation takes its place.
    """
    kept = torch.where(mask, advantage, torch.nan).double()
    low, median, high = kept.nanquantile(kept.new_tensor([0.25, 0.5, 0.75]))
    iqr = (high - low) / _IQR_OF_STANDARD_NORMAL
    _, std, largest = _moments(advantage, torch.zeros_like(group), 1, mask)
    usual = torch.maximum(low.abs(), high.abs())  # the largest magnitude may be the wild sample's
    usable = iqr > _resolution(advantage) * usual
    spread, scale = torch.where(usable, iqr, std), torch.where(usable, usual, largest)
    return _divide(advantage, kept - median, spread, scale, mask), None


def ema(
    advantage: Float[Tensor, "K M"],
    group: Int[Tensor, "K M"],
    mask: Bool[Tensor, "K M"],
    last: float | None,
    *,
    decay: Annotated[float, Interval(ge=0, le=1)],
    low: Annotated[float, Interval(ge=0, le=1)],
    high: Annotated[float, Interval(ge=0, le=1)],
    floor: Annotated[float, Gt(0)],
) -> Normalised:
    """a / max(floor, S), not centred; S runs after the range between two quantiles of the rollout's advantages.

    S <- decay S + (1 - decay) (q_high - q_low), once an update; the first range as it is. Sparse rewards keep their
    meaning: what is smaller than ``floor`` is not blown up. Hafner et al. 2023 (DreamerV3), with a shorter
    memory, because an update here is a whole rollout.
    """
    kept = torch.where(mask, advantage, torch.nan).double()
    quantiles = kept.nanquantile(kept.new_tensor([low, high]))
    scale = quantiles[1] - quantiles[0]
    if last is not None and math.isfinite(last):
        scale = torch.where(torch.isfinite(scale), decay * last + (1 - decay) * scale, last)
    return torch.where(mask, advantage / scale.clamp(min=floor), 0).to(advantage.dtype), scale


def _dense(group: Tensor) -> Tensor:
    """Group ids renumbered from 0 without a gap. ``torch.unique`` would have to wait for the device to count them."""
    ids, order = group.flatten().sort()
    rank = torch.cat([ids.new_zeros(1), (ids[1:] != ids[:-1]).cumsum(0)])
    return torch.empty_like(rank).scatter(0, order, rank).view_as(group)


def _standardise(advantage: Tensor, index: Tensor, sets: int, mask: Tensor) -> Tensor:
    """Standardise within each of the ``sets`` numbered by ``index``."""
    centred, std, scale = _moments(advantage, index, sets, mask)
    return _divide(advantage, centred, std[index], scale[index], mask)


def _moments(advantage: Tensor, index: Tensor, sets: int, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(advantage - mean of its set, std of each set, largest magnitude of each set), in float64.

    float64 because a float32 sum over a rollout drifts by more than its resolution, and because a constant must centre
    to exactly nothing.
    """
    advantage = torch.where(mask, advantage, 0).double()
    index = index.flatten()

    def total(x: Tensor) -> Tensor:
        return x.new_zeros(sets).index_add(0, index, x.flatten())

    count = total(mask.double())
    mean = total(advantage) / count.clamp(min=1)
    centred = torch.where(mask, advantage - mean[index].view_as(advantage), 0)
    std = (total(centred.square()) / (count - 1).clamp(min=1)).sqrt()
    scale = advantage.new_zeros(sets).scatter_reduce(0, index, advantage.abs().flatten(), "amax")
    return centred, std, scale


def _divide(advantage: Tensor, centred: Tensor, spread: Tensor, scale: Tensor, mask: Tensor) -> Tensor:
    """centred / spread, and 0 where masked out or where the spread is only rounding error; typed like ``advantage``.

    A NaN or infinite advantage stays visible in what comes out."""
    nothing = ~mask | (spread <= _resolution(advantage) * scale)  # NaN is not nothing: it must reach the step's guard
    return torch.where(nothing, 0, centred / torch.where(nothing, 1, spread)).to(advantage.dtype)


def _resolution(advantage: Tensor) -> float:
    """Spread over magnitude below which numbers of this type count as equal."""
    return 1e-12 if advantage.dtype == torch.float64 else 1e-6
