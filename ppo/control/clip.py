"""The clip range of the probability ratio. Each option is one function ``(progress) -> (low, high)``.

See ``ppo.control.progress``; ``progress.last`` is the last update's range.
"""

import math
from typing import Annotated, cast

from annotated_types import Ge, Gt

from ppo.control.progress import Progress, moved, side
from ppo.control.width import Width

Range = tuple[float, float]
EPS = Width(0.005, 3.0)  # beyond 1 there is no lower bound left, but spo's parabola still widens


def fixed(progress: Progress, *, eps: Annotated[float, Gt(0), EPS]) -> Range:
    """[1 - eps, 1 + eps], the PPO paper's."""
    return 1 - eps, 1 + eps


def asymmetric(
    progress: Progress, *, below: Annotated[float, Gt(0), EPS], above: Annotated[float, Gt(0), EPS]
) -> Range:
    """[1 - below, 1 + above]: more room to make a rare action likely than to forget a common one ("clip-higher")."""
    return 1 - below, 1 + above


def linear(progress: Progress, *, eps: Annotated[float, Gt(0), EPS], end: Annotated[float, Ge(0), EPS]) -> Range:
    """[1 - e, 1 + e] with e going from ``eps`` at the start to ``end`` at the end of training."""
    e = eps + (end - eps) * progress.done
    return 1 - e, 1 + e


def adaptive(
    progress: Progress,
    *,
    eps: Annotated[float, Gt(0)],
    tolerance: Annotated[float, Ge(1)],
    factor: Annotated[float, Ge(1)],
    min: Annotated[float, Gt(0)],
    max: Annotated[float, Gt(0)],
    fraction: Annotated[float, Gt(0)] | None,
) -> Range:
    """[1 - e, 1 + e] with e starting at ``eps``, moved by ``factor`` once an update, within [min, max].

    By the KL: narrower above tolerance * target_kl, wider below target_kl / tolerance. Where ``fraction`` is given, by
    the clip fraction instead: wider above tolerance * fraction, narrower below fraction / tolerance, so that about that
    share of the samples lies outside (a narrower range would only clip more of them).
    """
    measured = progress.seen.kl if fraction is None else progress.seen.clip_fraction
    if progress.last is None:
        return 1 - eps, 1 + eps
    if measured is None:  # no step was taken
        return progress.last
    if fraction is None:
        wider = -side(measured, cast(float, progress.target_kl), tolerance)
    else:
        wider = side(measured, fraction, tolerance) if measured else -1  # none outside: too wide
    e = moved(progress.last[1] - 1, factor, wider, min, max)
    return 1 - e, 1 + e


def none(progress: Progress) -> Range:
    """No clip: the ratio is free, and only what else is configured (KL stop, penalty) constrains the policy."""
    return 0.0, math.inf
