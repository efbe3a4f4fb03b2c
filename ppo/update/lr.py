"""The learning rate of the next update. Each option is one function ``(progress, kl, last, target_kl) -> lr``.

progress: environment steps done / total, in [0, 1]. kl: the chosen estimator on the whole batch after the last update,
None before the first. last: the learning rate of the last update, None before the first.
"""


def constant(progress: float, kl: float | None, last: float | None, target_kl: float | None, *, value: float) -> float:
    """``value``, always."""
    return value


def linear(
    progress: float, kl: float | None, last: float | None, target_kl: float | None, *, value: float, end: float = 0.0
) -> float:
    """From ``value`` at the start to ``end`` at the end of training."""
    return value + (end - value) * progress


def adaptive_kl(
    progress: float,
    kl: float | None,
    last: float | None,
    target_kl: float,
    *,
    value: float,
    tolerance: float = 2.0,
    factor: float = 1.5,
    min: float = 1e-5,
    max: float = 1e-2,
) -> float:
    """Start at ``value``; above tolerance * target_kl divide by ``factor``, below target_kl / tolerance multiply by it.

    Kept within [min, max]. A non-finite KL counts as too large, and a KL of 0 as none measured: the policy did not move.
    (The rule of rsl_rl and rl_games, once an update.)
    """
    if kl is None or last is None:
        return value
    if 0 < kl < target_kl / tolerance:
        last = last * factor
    elif not kl <= tolerance * target_kl:
        last = last / factor
    return sorted((min, last, max))[1]
