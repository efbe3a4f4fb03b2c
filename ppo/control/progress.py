"""What adaptive options read: the numbers that the last update measured, and on which side of a target they lie.

Options that choose a number anew for each update (``lr``, ``clip``, ``penalty``) are functions
``(progress, last, seen, target_kl) -> number``. progress: environment steps done / total, in [0, 1], never a count of
minibatches: an update that stopped early must not slow a schedule down. last: what the option chose for the last
update, and seen: what that update measured; both None before the first. All that they remember is ``last``, so that a
checkpoint holds it.
"""

from typing import NamedTuple


class Seen(NamedTuple):
    """What the last update measured."""

    kl: float  # the estimator chosen by kl=, at the update's end on the whole batch; or of what it had to undo [nats]
    clip_fraction: float  # of the samples, those whose ratio lay outside the clip range; mean over the steps


def side(measured: float, target: float, tolerance: float) -> int:
    """1 above tolerance * target, -1 below target / tolerance, 0 between.

    NaN counts as too large. A KL of exactly 0 says that the policy did not move (an update that was refused), not that
    it moved too little: 0.
    """
    if 0 < measured < target / tolerance:
        return -1
    return 0 if measured <= tolerance * target else 1


def moved(last: float, factor: float, steps: int, low: float, high: float) -> float:
    """last * factor^steps, kept within [low, high]."""
    return sorted((low, last * factor**steps, high))[1]
