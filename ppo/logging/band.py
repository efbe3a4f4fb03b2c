"""Reading a KL: how far a policy may move in one update before something is wrong."""

from typing import NamedTuple


class Band(NamedTuple):
    """Where a KL lies, and what to do about it."""

    name: str  # healthy, fine, warning, problem, critical
    colour: str  # as rich names it
    advice: str  # empty where nothing needs doing


BANDS = (
    Band("healthy", "green", ""),
    Band("fine", "cyan", ""),
    Band("warning", "yellow", "lower lr"),
    Band("problem", "dark_orange", "lower lr or target_kl"),
    Band("critical", "red", "lower lr, target_kl or the clip range"),
)
EDGES = (0.01, 0.02, 0.03, 0.05)  # nat: the upper end, included, of each band but the last
EARLY, LATE = 0.1, 0.8  # shares of training at which learning begins and fine-tuning begins


def band(kl: float, *, healthy: float = EDGES[0]) -> Band:
    """The band of ``kl`` (nat, mean over samples, one update). ``healthy``: the upper end, included, of the first.

    What is above the last edge, or not a number at all, is critical. Only the exact KL and the estimators that are
    never negative can be read this way: a noisy k1 below zero is "healthy" by accident.
    """
    for found, edge in zip(BANDS, (healthy, *EDGES[1:]), strict=False):
        if kl <= edge:
            return found
    return BANDS[-1]


def phase(progress: float, *, early: float = EARLY, late: float = LATE) -> str:
    """early, learning or fine-tuning, by the share of training done, in [0, 1]."""
    return "early" if progress < early else "learning" if progress < late else "fine-tuning"


def band_at(kl: float, progress: float) -> Band:
    """The band of ``kl`` in its phase of training: what is healthy ends at 0.015 early, 0.01 while learning, and 0.008
    when fine-tuning; the other edges stay."""
    return band(kl, healthy={"early": 0.015, "learning": EDGES[0], "fine-tuning": 0.008}[phase(progress)])
