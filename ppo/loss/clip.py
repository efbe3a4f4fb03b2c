"""The clip range of the probability ratio. Each option is one function ``(progress, ...) -> (low, high)``.

``progress`` in [0, 1] is environment steps done / total, never a count of minibatches: an update that stopped early
must not slow the schedule down.
"""

import math


def fixed(progress: float, *, eps: float = 0.2) -> tuple[float, float]:
    """[1 - eps, 1 + eps], the PPO paper's."""
    return 1 - eps, 1 + eps


def asymmetric(progress: float, *, below: float = 0.2, above: float = 0.28) -> tuple[float, float]:
    """[1 - below, 1 + above]: more room to make a rare action likely than to forget a common one ("clip-higher")."""
    return 1 - below, 1 + above


def linear(progress: float, *, eps: float = 0.2, end: float = 0.0) -> tuple[float, float]:
    """[1 - e, 1 + e] with e going from ``eps`` at the start to ``end`` at the end of training."""
    e = eps + (end - eps) * progress
    return 1 - e, 1 + e


def none(progress: float) -> tuple[float, float]:
    """No clip: the ratio is free, and only what else is configured (KL stop, penalty) holds the policy."""
    return 0.0, math.inf
