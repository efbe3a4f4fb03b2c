"""What can be known before the first step, from the configuration and the spaces of the environment alone."""

import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Space

from ppo.doctor.history import lookup

_CUT = 0.5  # share of a new policy's actions beyond the bounds, above which hardly any is its own
_PICTURE = 3 * 32 * 32  # numbers in an observation, from which on it is likely to be one
_WIDE = 100.0  # deviations of a new policy that fit between the bounds, above which it hardly explores them
SUBTRACT = (
    "subtract the offset in the environment; or give its space dtype float64, which normalise.obs=true subtracts from"
)


def foreseeable(config: dict[str, Any], observation_space: Space, action_space: Space) -> list[str]:
    """What will go wrong in a run of ``config`` (plain containers): a line each, with what to type; empty where nothing.

    For the start of a run. Costs no step of the environment.
    """
    found = (of_actions(config, action_space), _of_observations(config, observation_space), _of_advantages(config))
    return [f"{one.what}; try {one.tries}" if one.tries else one.what for one in found if one]


class Foreseen(NamedTuple):
    """What will go wrong, and the override that helps, where one does."""

    what: str
    tries: str = ""


def beyond(space: Box, sigma: float) -> np.ndarray:
    """[A] share of actions ~ N(0, sigma^2) outside of ``space``; 0 where its bounds leave nothing to choose."""
    low, high = space.low.astype(float).ravel(), space.high.astype(float).ravel()
    share = np.array([_normal(a / sigma) + _normal(-b / sigma) for a, b in zip(low, high, strict=True)])
    return np.where(low == high, 0.0, share)


def first_sigma(config: dict[str, Any]) -> float:
    """The deviation that a new policy begins with."""
    initial = lookup(config, "network.log_std")
    return math.exp(-1.0 if initial is None else initial)


def action_option(config: dict[str, Any]) -> str:
    """clip or tanh."""
    return str(lookup(config, "action._target_") or "clip").rpartition(".")[2]


def _normal(x: float) -> float:
    """The share of a standard normal below ``x``."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def of_actions(config: dict[str, Any], space: Space) -> Foreseen | None:
    """A new policy whose actions the bounds would cut off, or that would hardly explore what lies between them."""
    if not isinstance(space, Box):
        return None
    if action_option(config) == "tanh" and not space.is_bounded():
        return Foreseen(f"action=tanh needs bounds on both sides, and the actions are {space}", "action=clip")
    if action_option(config) != "clip":
        return None
    sigma, share = first_sigma(config), beyond(space, first_sigma(config))
    low, high = space.low.astype(float).ravel(), space.high.astype(float).ravel()
    widths = np.where(np.isfinite(high - low), high - low, 0.0)
    worst, widest = int(np.argmax(share)), int(np.argmax(widths))
    if share[worst] > _CUT:
        bounds = f"[{low[worst]:g}, {high[worst]:g}]"
        what = f"{share[worst]:.0%} of what a new policy wants of action {worst} is cut off at {bounds} (sigma {sigma:.2g} "
        what += "around 0)"
    elif widths[widest] > _WIDE * sigma:
        what = f"action {widest} has a range of {widths[widest]:g}, which a first sigma of {sigma:.2g} hardly explores"
    else:
        return None
    if space.is_bounded():
        return Foreseen(what, "action=tanh")
    return Foreseen(
        f"{what}; with a side that is open action=tanh cannot help: shift and scale them in the environment"
    )


def resolution(config: dict[str, Any], dtype: Any) -> float:
    """The relative resolution of what the networks see of observations of ``dtype``: float32's, unless it is float64 from
    which the normaliser subtracts the mean."""
    wide = np.dtype(dtype) == np.float64 and lookup(config, "normalise.obs")
    return float(np.finfo(np.float64 if wide else np.float32).eps)


def _of_observations(config: dict[str, Any], space: Space) -> Foreseen | None:
    """Bounds so narrow beside their offset that there are few values between them; or as many numbers as a picture has."""
    if not isinstance(space, Box):
        return None
    if (size := math.prod(space.shape)) >= _PICTURE:
        what = f"an observation has {size:,} numbers, as one row"
        return Foreseen(f"{what}: a picture needs convolutions, in a network of your own (docs/python.md)")
    eps = resolution(config, space.dtype)
    low, high = space.low.astype(float).ravel(), space.high.astype(float).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        width, size = high - low, np.maximum(np.abs(low), np.abs(high))
        lost = np.isfinite(width) & (width > 0) & (width < 16 * eps * size)
    if not lost.any():
        return None
    d = int(np.argmax(lost))
    return Foreseen(
        f"observation {d} lies in [{low[d]:.9g}, {high[d]:.9g}], where the networks can tell {width[d] / (eps * size[d]):.0f} "
        f"values apart: {SUBTRACT}"
    )


def _of_advantages(config: dict[str, Any]) -> Foreseen | None:
    """Sets of one sample, whose only advantage is set to 0."""
    steps, envs, minibatch = (lookup(config, key) for key in ("num_steps", "num_envs", "minibatch_size"))
    norm = str(lookup(config, "norm._target_") or "").rpartition(".")[2]
    alone = {
        "minibatch": minibatch == 1 and "each minibatch is",
        "group": steps == 1 and lookup(config, "env.variants") is None and "each sub-environment gives",
        "global": steps == 1 and envs == 1 and "the rollout is",
        "robust": steps == 1 and envs == 1 and "the rollout is",
    }.get(norm)
    if not alone:
        return None
    what = f"norm={norm} sets every advantage to 0, since {alone} one sample"
    return Foreseen(what, "num_steps=128 minibatch_size=64")
