"""What a check returns, and the small arithmetic that the checks share."""

from typing import NamedTuple

import numpy as np

from ppo.doctor.history import History


class Finding(NamedTuple):
    """One cause: what was seen, where, why it is believed, what to type."""

    cause: str  # the name of the check
    seen: str  # in words
    updates: tuple[int, int]  # first and last update that show it
    why: str  # the numbers
    tries: tuple[str, ...]  # overrides, one remedy each, the best first; empty where no word of the configuration helps
    restart: bool = False  # what was trained is not worth going on with

    def line(self) -> str:
        """In one line, for a run that continues."""
        advice = f"; try {self.tries[0]}{' and start again' * self.restart}" if self.tries else ""
        return f"doctor: {self.seen} ({self.where}: {self.why}){advice}"

    @property
    def where(self) -> str:
        """The updates that show it, in words."""
        first, last = self.updates
        return f"update {first}" if first == last else f"updates {first} to {last}"


def span(history: History, mask: np.ndarray) -> tuple[int, int]:
    """The first and last update in ``mask`` [n]; the whole run where there is none."""
    (at,) = np.nonzero(mask)
    return (history.where(at[0]), history.where(at[-1])) if len(at) else (history.where(0), history.where(-1))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first index, length) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=int), [0]])))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def percent(share: float) -> str:
    """0.25 -> "25 %"."""
    return f"{100 * share:.0f} %"
