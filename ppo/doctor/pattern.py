"""The shape of a run's KL over time."""

from typing import NamedTuple

import numpy as np


class Pattern(NamedTuple):
    """How the KL behaves from update to update."""

    name: str  # stable, borderline, spiking, growing spikes
    spikes: list[int]  # indices of the updates that stand out


def pattern(
    kl: np.ndarray, *, factor: float = 3.0, floor: float = 0.03, window: int = 10, growth: float = 1.5
) -> Pattern:
    """The pattern of ``kl`` [n], one value an update.

    A spike is more than ``factor`` times the median of the ``window`` updates before it, and above ``floor`` [nat].
    Spikes grow where there are three at least and the last third of them is ``growth`` times the first third.
    Borderline: no spike, but one update in four or more above ``floor``.
    """
    kl = np.where(np.isnan(kl), np.inf, kl)
    usual = [np.median(kl[max(0, i - window) : i]) if i >= 3 else np.inf for i in range(len(kl))]
    spikes = [i for i, x in enumerate(kl) if x > floor and x > factor * usual[i]]
    if len(spikes) >= 3:
        part = len(spikes) // 3
        if np.median(kl[spikes[-part:]]) >= growth * np.median(kl[spikes[:part]]):
            return Pattern("growing spikes", spikes)
    if spikes:
        return Pattern("spiking", spikes)
    return Pattern("borderline" if len(kl) and np.mean(kl > floor) >= 0.25 else "stable", [])
