"""How strongly the KL of kl= is penalised. Each option is one function ``(progress) -> beta``; see ``ppo.control.progress``.

The loss is ``-objective + beta * KL(old || new)``, the KL by the chosen estimator; a beta that starts at 0 stays 0 and
its term is not computed.
"""

from typing import Annotated, cast

from annotated_types import Ge, Gt

from ppo.control.progress import Progress, moved, side
from ppo.control.width import Width


def none(progress: Progress) -> float:
    """No penalty."""
    return 0.0


def fixed(progress: Progress, *, beta: Annotated[float, Ge(0), Width(1e-3, 1e3, inverse=True)]) -> float:
    """``beta``, always."""
    return beta


def adaptive(
    progress: Progress,
    *,
    beta: Annotated[float, Ge(0)],
    tolerance: Annotated[float, Ge(1)],
    factor: Annotated[float, Ge(1)],
    min: Annotated[float, Gt(0)],
    max: Annotated[float, Gt(0)],
) -> float:
    """Start at ``beta``; above tolerance * target_kl multiply by ``factor``, below target_kl / tolerance divide by it.

    Once an update, within [min, max]. Schulman et al. 2017, section 4.
    """
    if progress.last is None or progress.seen.kl is None:
        return beta
    return moved(progress.last, factor, side(progress.seen.kl, cast(float, progress.target_kl), tolerance), min, max)
