"""The learning rate of the next update. Each option is one function ``(progress) -> lr``; see ``ppo.control.progress``.

``adaptive_kl_step`` alone is asked before every gradient step; see ``ppo.update.optim.follow_kl``.
"""

from typing import Annotated, cast

from annotated_types import Ge, Gt

from ppo.control.progress import Progress, moved, side


def constant(progress: Progress, *, value: Annotated[float, Gt(0)]) -> float:
    """``value``, always."""
    return value


def linear(progress: Progress, *, value: Annotated[float, Gt(0)], end: Annotated[float, Ge(0)]) -> float:
    """From ``value`` at the start to ``end`` at the end of training."""
    return value + (end - value) * progress.done


def adaptive_kl(
    progress: Progress,
    *,
    value: Annotated[float, Gt(0)],
    tolerance: Annotated[float, Ge(1)],
    factor: Annotated[float, Ge(1)],
    min: Annotated[float, Gt(0)],
    max: Annotated[float, Gt(0)],
) -> float:
    """Start at ``value``; above tolerance * target_kl divide by ``factor``, below target_kl / tolerance multiply by it.

    Kept within [min, max]. (The rule of rsl_rl and rl_games, once an update.)
    """
    if progress.last is None or progress.seen.kl is None:
        return value
    slower = side(progress.seen.kl, cast(float, progress.target_kl), tolerance)
    return moved(progress.last, factor, -slower, min, max)


def adaptive_kl_step(
    progress: Progress,
    *,
    value: Annotated[float, Gt(0)],
    tolerance: Annotated[float, Ge(1)],
    factor: Annotated[float, Ge(1)],
    min: Annotated[float, Gt(0)],
    max: Annotated[float, Gt(0)],
) -> float:
    """The rule of ``adaptive_kl`` before every gradient step, by the KL of its minibatch. As rsl_rl and Isaac Lab have it.

    The rate is learned state: it goes on from one update to the next, and is in the checkpoint.
    """
    return adaptive_kl(progress, value=value, tolerance=tolerance, factor=factor, min=min, max=max)
