"""From the policy's unbounded action to one the environment takes. The policy's own action is what a trainer stores."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor

from envs.base import ActionSpace, EnvError


class Bounds(NamedTuple):
    """A box of continuous actions on a device."""

    low: Tensor  # [A], in the dtype of the space
    high: Tensor


def received(option: Callable, space: ActionSpace, device: torch.device | None = None) -> Callable:
    """``option`` for actions of ``space``: arrays, and tensors of ``device`` where the world lives on one."""
    there = space
    if device is not None and isinstance(space, Box):
        there = Bounds(*(torch.tensor(bound, device=device) for bound in (space.low, space.high)))
    return lambda action: option(action, space=there if isinstance(action, Tensor) else space)


def clip(action: Any, space: ActionSpace | Bounds) -> Any:
    """``min(max(action, low), high)`` of ``action [*B, A]``, in the dtype of the space; discrete ones, which count from
    0, from where the space begins."""
    if isinstance(space, Discrete):
        return action + int(space.start)
    if isinstance(space, MultiDiscrete):
        return action + (torch.from_numpy(space.start).to(action.device) if isinstance(action, Tensor) else space.start)
    if isinstance(space, Bounds):
        return torch.clip(action, space.low, space.high).to(space.low.dtype)
    bounded = np.minimum(np.maximum(action, space.low), space.high)  # half of np.clip's cost on arrays this small
    return bounded.astype(space.dtype, copy=False)


def tanh(action: Any, space: ActionSpace | Bounds) -> Any:
    """``low + (high - low) (tanh(action) + 1) / 2`` of ``action [*B, A]``; EnvError where a bound is missing."""
    if isinstance(space, Bounds):  # one of ``space``, which was looked at
        return clip(space.low + (space.high - space.low) * (0.5 * (torch.tanh(action) + 1.0)), space)
    if not isinstance(space, Box):
        raise EnvError(f"action=tanh is for continuous actions, not {space}; use action=clip")
    with np.errstate(over="ignore"):
        width = space.high - space.low
    if not math.isfinite(width.sum()):
        raise EnvError(f"action=tanh needs bounds on both sides, and {_open(space)}; use action=clip")
    squashed = space.low + width * (0.5 * (np.tanh(action) + 1.0))
    return clip(squashed, space)  # rounding may step over a bound


def untanh(received: np.ndarray, space: Box) -> np.ndarray:
    """The action that ``tanh`` makes this of; at most arctanh(0.999) in size, as the bounds themselves have none. 0 where
    ``low`` and ``high`` are equal: every action becomes this."""
    width = space.high - space.low
    unit = 2 * (received - space.low) / np.where(width > 0, width, 1) - (width > 0)
    return np.arctanh(np.clip(unit, -0.999, 0.999))


def random_actions(space: ActionSpace, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Actions ``[*shape, A]`` (Discrete: ``shape``) inside of ``space``, in its dtype: uniform between two bounds,
    exponential from one, normal without any. Nothing of the space's own generator is used."""
    if isinstance(space, Discrete):
        return rng.integers(space.start, space.start + space.n, shape).astype(space.dtype)
    if isinstance(space, MultiDiscrete):
        return rng.integers(space.start, space.start + space.nvec, (*shape, *space.shape)).astype(space.dtype)
    below, above = np.isfinite(space.low), np.isfinite(space.high)
    low, high = np.where(below, space.low, 0.0).astype(float), np.where(above, space.high, 0.0).astype(float)
    size = (*shape, *space.shape)
    unit, tail = rng.uniform(size=size), rng.exponential(size=size)
    between = low * (1.0 - unit) + high * unit  # not low + (high - low) unit: the width may be infinite
    drawn = np.select(
        [below & above, np.broadcast_to(below, size), np.broadcast_to(above, size)],
        [between, low + tail, high - tail],
        rng.standard_normal(size),
    )
    return np.clip(drawn, space.low, space.high).astype(space.dtype)


def _open(space: Box) -> str:
    """The first action without two bounds, in words."""
    with np.errstate(over="ignore"):
        width = space.high - space.low
    i = int(np.argmin(np.isfinite(width)))
    low, high = float(space.low[i]), float(space.high[i])
    if math.isfinite(low) and math.isfinite(high):
        return f"action {i} reaches from {low:g} to {high:g}, a width that {space.dtype} cannot hold"
    sides = [side for side, bound in (("below", low), ("above", high)) if not math.isfinite(bound)]
    return f"action {i} of [{low:g}, {high:g}] has none {' and '.join(sides)}"
