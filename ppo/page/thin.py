"""Curves made small enough to be carried and drawn: thinned one by one, or many on one grid with a middle and an interval."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

Curve = tuple[np.ndarray, np.ndarray]  # x, ascending, and y


def thinned(x: np.ndarray, y: np.ndarray, points: int) -> Curve:
    """At most ``points`` of a curve [n]: the lowest and the highest of each stretch, so that no spike is lost.

    They are placed at the ends of their stretch, in their order: curves over one axis stay curves over one axis.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= points:
        return x, y
    size = -(-len(x) // (points // 2))
    count = -(-len(x) // size)
    padded = np.concatenate([y, np.full(count * size - len(y), np.nan)]).reshape(count, size)
    low = np.where(np.isfinite(padded), padded, np.inf).argmin(1)
    high = np.where(np.isfinite(padded), padded, -np.inf).argmax(1)
    places = np.stack([np.minimum(low, high), np.maximum(low, high)], 1)
    ends = np.minimum(np.stack([np.arange(count) * size, (np.arange(count) + 1) * size - 1], 1), len(x) - 1)
    return x[ends].ravel(), np.take_along_axis(padded, places, 1).ravel()


def interpolated(runs: Sequence[Curve], *, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Curves on one grid [P] of steps: [runs, P], NaN where a run has no data (before its first point, after its last)."""
    every = np.unique(np.concatenate([steps for steps, _ in runs]))
    grid = every if len(every) <= points else np.linspace(every[0], every[-1], points)
    return grid, np.array([np.interp(grid, steps, values, left=np.nan, right=np.nan) for steps, values in runs])


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[runs, P] -> mean, low, high [P] over the runs that are there: t interval; NaN below two runs."""
    n = np.isfinite(values).sum(0)
    total = np.nansum(values, 0)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.nansum((values - mean) ** 2, 0)
    se = np.sqrt(np.divide(squares, n * (n - 1), out=np.full(len(n), np.nan), where=n > 1))
    half = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)) * se
    return mean, mean - half, mean + half


def mean_range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[runs, P] -> mean, lowest, highest [P] of the runs that are there."""
    return mean_interval(values)[0], np.fmin.reduce(values, 0), np.fmax.reduce(values, 0)
