"""What one run is worth: the end of its curve, and the area under it. Both in the unit of the return."""

from collections.abc import Sequence

import numpy as np

from ppo.compare.load import CompareError, Trial
from ppo.run.folder import final

CURVES = ("eval", "train", "return")  # deterministic evaluation, training return, what a CSV calls return
KINDS = ("final", "auc")


def auc(steps: np.ndarray, values: np.ndarray) -> float:
    """Area under the curve (trapezoids) over its length in steps: the mean return while learning. One point: itself."""
    span = steps[-1] - steps[0]
    return float(np.trapezoid(values, steps) / span) if span > 0 else float(values[-1])


def worth(trial: Trial, endpoint: str, *, window: int | None = None) -> float:
    """The run's own value at ``endpoint`` (``eval/final`` ...), as far as it came; NaN where it never had one."""
    curve, kind = endpoint.split("/")
    if curve not in trial.curves:
        return np.nan
    steps, values = trial.curves[curve]
    if window and kind == "final" and len(values) < window and not trial.failed:
        raise CompareError(f"--window {window}: {trial.source} has only {len(values)} points of {curve} return")
    return final(values, window) if kind == "final" else auc(steps, values)


def scores(trials: Sequence[Trial], endpoint: str, *, window: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(values [n], failed [n]) of all runs of one environment.

    A run that did not finish, or whose value is not finite, is failed. It counts as the lowest value that any run of
    the environment had (worst-rank scores, Lachin 1999): leaving it out would reward the arm that crashes, and what it
    had reached may have been its peak.
    """
    own = np.array([worth(trial, endpoint, window=window) for trial in trials])
    known = np.isfinite(own)
    failed = ~known | np.array([trial.failed is not None for trial in trials])
    lowest = own[known].min() if known.any() else np.nan
    return np.where(failed, lowest, own), failed


def available(trials: Sequence[Trial]) -> list[str]:
    """The endpoints that at least one run has."""
    curves = [name for name in CURVES if any(name in trial.curves for trial in trials)]
    return [f"{curve}/{kind}" for curve in curves for kind in KINDS]
