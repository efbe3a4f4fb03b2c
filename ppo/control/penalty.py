"""How strongly the KL of kl= is penalised. Each option is one function ``(progress, last, seen, target_kl) -> beta``.

The loss is ``-objective + beta * KL(old || new)``, the KL by the chosen estimator; a beta that starts at 0 stays 0 and
its term is not computed. Arguments: see ``ppo.control.progress``.
"""

from ppo.control.progress import Seen, moved, side


def none(progress: float, last: float | None, seen: Seen | None, target_kl: float | None) -> float:
    """No penalty."""
    return 0.0


def fixed(
    progress: float, last: float | None, seen: Seen | None, target_kl: float | None, *, beta: float = 0.1
) -> float:
    """``beta``, always."""
    return beta


def adaptive(
    progress: float,
    last: float | None,
    seen: Seen | None,
    target_kl: float,
    *,
    beta: float = 1.0,
    tolerance: float = 1.5,
    factor: float = 2.0,
    min: float = 1e-3,
    max: float = 100.0,
) -> float:
    """Start at ``beta``; above tolerance * target_kl multiply by ``factor``, below target_kl / tolerance divide by it.

    Once an update, within [min, max]. Schulman et al. 2017, section 4.
    """
    if last is None or seen is None:
        return beta
    return moved(last, factor, side(seen.kl, target_kl, tolerance), min, max)
