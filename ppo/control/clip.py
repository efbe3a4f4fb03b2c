"""The clip range of the probability ratio. Each option is ``(progress, last, seen, target_kl) -> (low, high)``.

Arguments: see ``ppo.control.progress``.
"""

import math
from typing import cast

from ppo.control.progress import Seen, moved, side

Range = tuple[float, float]


def fixed(
    progress: float, last: Range | None, seen: Seen | None, target_kl: float | None, *, eps: float = 0.2
) -> Range:
    """[1 - eps, 1 + eps], the PPO paper's."""
    return 1 - eps, 1 + eps


def asymmetric(
    progress: float,
    last: Range | None,
    seen: Seen | None,
    target_kl: float | None,
    *,
    below: float = 0.2,
    above: float = 0.28,
) -> Range:
    """[1 - below, 1 + above]: more room to make a rare action likely than to forget a common one ("clip-higher")."""
    return 1 - below, 1 + above


def linear(
    progress: float,
    last: Range | None,
    seen: Seen | None,
    target_kl: float | None,
    *,
    eps: float = 0.2,
    end: float = 0.0,
) -> Range:
    """[1 - e, 1 + e] with e going from ``eps`` at the start to ``end`` at the end of training."""
    e = eps + (end - eps) * progress
    return 1 - e, 1 + e


def adaptive(
    progress: float,
    last: Range | None,
    seen: Seen | None,
    target_kl: float | None,
    *,
    eps: float = 0.2,
    tolerance: float = 1.5,
    factor: float = 1.2,
    min: float = 0.05,
    max: float = 0.5,
    fraction: float | None = None,
) -> Range:
    """[1 - e, 1 + e] with e starting at ``eps``, moved by ``factor`` once an update, within [min, max].

    By the KL: narrower above tolerance * target_kl, wider below target_kl / tolerance. Where ``fraction`` is given, by
    the clip fraction instead: wider above tolerance * fraction, narrower below fraction / tolerance, so that about that
    share of the samples lies outside (a narrower range would only clip more of them).
    """
    if last is None or seen is None:
        return 1 - eps, 1 + eps
    if fraction is None:
        wider = -side(seen.kl, cast(float, target_kl), tolerance)
    else:
        wider = side(seen.clip_fraction, fraction, tolerance) if seen.clip_fraction else -1  # none outside: too wide
    e = moved(last[1] - 1, factor, wider, min, max)
    return 1 - e, 1 + e


def none(progress: float, last: Range | None, seen: Seen | None, target_kl: float | None) -> Range:
    """No clip: the ratio is free, and only what else is configured (KL stop, penalty) holds the policy."""
    return 0.0, math.inf
