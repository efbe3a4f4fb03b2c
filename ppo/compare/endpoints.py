"""What one run is worth: the end of its curve, and the area under it. Both in the unit of the return."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ppo.compare.trial import CURVES, CompareError, Trial, steps_text
from ppo.run.folder import final

KINDS = ("final", "auc")
SHORT = 0.02  # a common span that leaves out more than this share of the steps is reported
Span = tuple[float, float]  # environment steps: the first and the last that all runs have


class Sample(NamedTuple):
    """What the runs of one arm are worth at one endpoint, a place for each seed, ascending."""

    seeds: tuple[int, ...]
    values: np.ndarray  # [n]
    failed: np.ndarray  # [n] bool: counted as the lowest value of the environment

    @property
    def scores(self) -> np.ndarray:
        """[n]: what ranks are made of, -infinity where the run failed."""
        return np.where(self.failed, -np.inf, self.values)

    def of(self, seeds: Sequence[int]) -> "Sample":
        """The part of these seeds."""
        kept = [self.seeds.index(seed) for seed in seeds]
        return Sample(tuple(seeds), self.values[kept], self.failed[kept])


def available(trials: Sequence[Trial]) -> list[str]:
    """The endpoints that at least one finished run has; at least one run, where none finished. A single evaluation has no
    area under it."""
    telling = [trial for trial in trials if not trial.failed] or trials
    points = {name: max((len(t.curves[name][0]) for t in telling if name in t.curves), default=0) for name in CURVES}
    return [f"{name}/{kind}" for name in CURVES for kind in KINDS if points[name] > (kind == "auc")]


def common_span(trials: Sequence[Trial], curve: str) -> Span:
    """The steps that the ``curve`` of every finished run has (of every run, where none finished).

    Raises CompareError where there are none.
    """
    having = [trial for trial in trials if curve in trial.curves]
    having = [trial for trial in having if not trial.failed] or having
    late = max(having, key=lambda trial: trial.curves[curve][0][0])
    early = min(having, key=lambda trial: trial.curves[curve][0][-1])
    first, last = late.curves[curve][0][0], early.curves[curve][0][-1]
    if first > last:
        raise CompareError(
            f"{late.env}: {early.source} ({early.arm or curve}, seed {early.seed}) ends at step {steps_text(last)}, before "
            f"{late.source} ({late.arm or curve}, seed {late.seed}) begins, at step {steps_text(first)}"
        )
    return float(first), float(last)


def auc(steps: np.ndarray, values: np.ndarray) -> float:
    """Area under the curve (trapezoids) over its length in steps: the mean return while learning. One point: itself."""
    span = steps[-1] - steps[0]
    return float(np.trapezoid(values, steps) / span) if span > 0 else float(values[-1])


def worth(trial: Trial, endpoint: str, *, window: int | None = None, span: Span | None = None) -> float:
    """The run's own value at ``endpoint`` (``eval/final`` ...), of its steps within ``span``; NaN where it has none.

    ``final``: the mean of the last ``window`` points there, by default the last tenth; a point beyond counts where it is nearer
    to the end than the one before, and not further than what is left out in silence. ``auc``: over all of the span,
    interpolated at its ends. Raises CompareError where a finished run has fewer points than ``window``.
    """
    curve, kind = endpoint.split("/")
    if curve not in trial.curves:
        return np.nan
    steps, values = trial.curves[curve]
    first, last = span or (steps[0], steps[-1])
    values_to_last = values[: _reached(steps, first, last)]
    if not len(values_to_last):
        return np.nan
    if kind == "final":
        if window and len(values_to_last) < window and not trial.failed:
            raise CompareError(
                f"--window {window}: {trial.source} has only {len(values_to_last)} points of {curve} return"
            )
        return final(values_to_last, window)
    ends = np.clip([first, last], steps[0], steps[-1])  # a failed run has not all of the span
    grid = np.unique([*ends, *steps[(steps >= ends[0]) & (steps <= ends[1])]])
    return auc(grid, np.interp(grid, steps, values))


def _reached(steps: np.ndarray, first: float, last: float) -> int:
    """How many of the ascending ``steps`` a run had made at ``last``. Rollouts of different lengths end a million steps
    some hundred apart: whose last evaluation came that much later is not to be judged by the one before."""
    count = int(np.searchsorted(steps, last, side="right"))
    if 0 < count < len(steps):
        beyond = steps[count] - last
        count += bool(beyond < last - steps[count - 1] and beyond <= SHORT * (last - first))
    return count


def samples(
    arms: Mapping[str, Sequence[Trial]], endpoint: str, *, window: int | None = None
) -> tuple[dict[str, Sample], Span]:
    """(arm -> its sample, the steps compared), of the runs of one environment.

    A failed run counts as the lowest value that any run of the environment had (worst-rank scores, Lachin 1999):
    leaving it out would reward the arm that crashes, and what it had reached may have been its peak. A finished run
    that did not log the curve is not failed: it has no place here, nor has an arm of such runs.
    """
    curve = endpoint.split("/")[0]
    span = common_span([trial for trials in arms.values() for trial in trials], curve)
    counted = {label: [t for t in trials if t.failed or curve in t.curves] for label, trials in arms.items()}
    own = {
        label: np.array([worth(trial, endpoint, window=window, span=span) for trial in trials])
        for label, trials in counted.items()
        if all(trial.failed for trial in arms[label]) or not all(trial.failed for trial in trials)
    }
    lowest = np.nanmin(np.concatenate([*own.values()]))
    found = {}
    for label, values in own.items():
        failed = np.array([trial.failed is not None for trial in counted[label]])
        seeds = tuple(trial.seed for trial in counted[label])
        found[label] = Sample(seeds, np.where(failed, lowest, values), failed)
    return found, span
