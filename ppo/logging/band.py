"""Reading a KL: how far a policy may move in one update before something is wrong."""

from typing import NamedTuple


class Band(NamedTuple):
    """Where a KL lies, and what to do about it."""

    name: str  # healthy, fine, warning, problem, critical
    colour: str  # as rich names it
    advice: str  # empty where nothing needs doing


def band(kl: float, *, healthy: float = 0.01, fine: float = 0.02, warning: float = 0.03, problem: float = 0.05) -> Band:
    """The band of ``kl`` (nat, mean over samples, one update). Each keyword is the upper end of its band, included.

    What is above ``problem``, or not a number at all, is critical. Only the exact KL and the estimators that are
    never negative can be read this way: a noisy k1 below zero is "healthy" by accident.
    """
    if kl <= healthy:
        return Band("healthy", "green", "")
    if kl <= fine:
        return Band("fine", "cyan", "")
    if kl <= warning:
        return Band("warning", "yellow", "lower lr")
    if kl <= problem:
        return Band("problem", "dark_orange", "lower lr, set target_kl")
    return Band("critical", "red", "lower lr and clip range, set target_kl")
