"""The learning rate of the next update. Each option is one function ``(progress, last, seen, target_kl) -> lr``.

Arguments: see ``ppo.control.progress``.
"""

from ppo.control.progress import Seen, moved, side


def constant(progress: float, last: float | None, seen: Seen | None, target_kl: float | None, *, value: float) -> float:
    """``value``, always."""
    return value


def linear(
    progress: float,
    last: float | None,
    seen: Seen | None,
    target_kl: float | None,
    *,
    value: float,
    end: float = 0.0,
) -> float:
    """From ``value`` at the start to ``end`` at the end of training."""
    return value + (end - value) * progress


def adaptive_kl(
    progress: float,
    last: float | None,
    seen: Seen | None,
    target_kl: float,
    *,
    value: float,
    tolerance: float = 2.0,
    factor: float = 1.5,
    min: float = 1e-5,
    max: float = 1e-2,
) -> float:
    """Start at ``value``; above tolerance * target_kl divide by ``factor``, below target_kl / tolerance multiply by it.

    Kept within [min, max]. (The rule of rsl_rl and rl_games, once an update.)
    """
    if last is None or seen is None:
        return value
    return moved(last, factor, -side(seen.kl, target_kl, tolerance), min, max)
