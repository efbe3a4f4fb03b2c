"""What a check returns, and the small arithmetic that the checks share."""

import math
from typing import NamedTuple

import numpy as np

from ppo.doctor.history import History

LIMITED = "stop=minibatch target_kl=0.02"  # a limit for a run that has none


class Finding(NamedTuple):
    """One cause: what was seen, where, why it is believed, what to type."""

    cause: str  # the name of the check
    seen: str  # in words
    updates: tuple[int, int]  # first and last update that show it
    why: str  # the numbers
    tries: tuple[str, ...]  # overrides, one remedy each: "lr.value=1e-4", "stop=minibatch target_kl=0.02"
    restart: bool = False  # what was trained is not worth going on with


def span(history: History, mask: np.ndarray) -> tuple[int, int]:
    """The first and last update in ``mask`` [n]; the whole run where there is none."""
    (at,) = np.nonzero(mask)
    return (history.where(at[0]), history.where(at[-1])) if len(at) else (history.where(0), history.where(-1))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first index, length) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=int), [0]])))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def round_to(value: float, digits: int = 1) -> str:
    """With that many significant digits, as a person would type it: 3e-05, 0.015."""
    return f"{float(f'{value:.{digits}g}'):g}"


def slower(history: History, factor: float) -> str:
    """The override that divides the learning rate by ``factor``."""
    logged = [rate for rate in history["lr"] if math.isfinite(rate)]
    rate = history.option("lr.value", max(logged, default=1e-4))
    return f"lr.value={round_to(rate / factor)}"


def to_reach(kl: float, *, aim: float = 0.015) -> float:
    """The factor by which a learning rate is too large: a KL grows with the square of the step. Between 2 and 30."""
    return float(np.clip(math.sqrt(kl / aim), 2, 30)) if math.isfinite(kl) else 30.0


def percent(share: float) -> str:
    """0.25 -> "25 %"."""
    return f"{100 * share:.0f} %"


def line(finding: Finding) -> str:
    """A finding in one line, for a run that goes on."""
    first, last = finding.updates
    at = f"update {first}" if first == last else f"updates {first} to {last}"
    return f"doctor: {finding.seen} ({at}: {finding.why}); try {finding.tries[0]}{' and start again' * finding.restart}"
