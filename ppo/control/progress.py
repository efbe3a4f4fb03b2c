"""What moves between updates reads this: how far training is, and what the last update measured.

An option that chooses a number anew for each update (``lr``, ``clip``, ``penalty``, a coefficient) is one function
``(progress) -> number``. All that it remembers is ``progress.last``, so that a checkpoint holds it.
"""

from typing import Any, NamedTuple

NOTHING = 2.0**-23  # of a target: a KL below is 0 known to float32's rounding


class Seen(NamedTuple):
    """What the last update measured; None where it did not."""

    kl: float | None = (
        None  # the estimator of kl=, at the update's end on the whole batch; or of what was undone [nats]
    )
    clip_fraction: float | None = (
        None  # share of the samples whose ratio lay outside the clip range; mean over the steps
    )
    reference_kl: float | None = None  # divergence from the reference policy at the update's end [nats]
    demo_ratio: float | None = None  # length of the gradient of the demonstrations' term over that of the rest


class Progress(NamedTuple):
    """The one argument of every option that moves between updates.

    ``done`` counts environment steps, never minibatches: an update that stopped early must not slow a schedule down.
    """

    done: float = 0.0  # environment steps so far / all of them, in [0, 1]
    last: Any = None  # what the option chose for the last update; None before the first
    seen: Seen = Seen()
    target_kl: float | None = None  # [nats]


def side(measured: float, target: float, tolerance: float) -> int:
    """1 above tolerance * target, -1 below target / tolerance, 0 between. (An estimate of a small KL may be negative: -1.)

    NaN counts as too large. A KL of nothing says that the policy did not move (an update that was refused), not that
    it moved too little: 0.
    """
    if abs(measured) <= NOTHING * target:
        return 0
    if measured < target / tolerance:
        return -1
    return 0 if measured <= tolerance * target else 1


def moved(last: float, factor: float, steps: int, low: float, high: float) -> float:
    """last * factor^steps, kept within [low, high]."""
    return sorted((low, last * factor**steps, high))[1]
