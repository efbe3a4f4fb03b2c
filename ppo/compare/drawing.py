"""What the pictures of a comparison are made of: axes, bands over runs, and names drawn as they are."""

import hashlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ppo.compare.printed import visible
from ppo.compare.trial import Curve

# Names are drawn as they are: a dollar in one begins no formula, and no layout of the user's is asked.
STYLE: dict = {"text.parse_math": False, "text.usetex": False}


def interpolated(runs: Sequence[Curve], *, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Curves on one grid [P] of steps: [runs, P], NaN where a run has no data (before its first point, after its last)."""
    every = np.unique(np.concatenate([steps for steps, _ in runs]))
    grid = every if len(every) <= points else np.linspace(every[0], every[-1], points)
    return grid, np.array([np.interp(grid, steps, values, left=np.nan, right=np.nan) for steps, values in runs])


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[runs, P] -> mean, low, high [P] over the runs that are there: t interval; no width below two runs."""
    n = np.isfinite(values).sum(0)
    total = np.nansum(values, 0)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.nansum((values - mean) ** 2, 0)
    se = np.sqrt(np.divide(squares, n * (n - 1), out=np.zeros(len(n)), where=n > 1))
    half = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)) * se
    return mean, mean - half, mean + half


def mean_range(values: np.ndarray, *, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[runs, P] -> mean, lowest, highest [P] of the runs that are there; the signature of ``mean_interval``."""
    return mean_interval(values, level=level)[0], np.fmin.reduce(values, 0), np.fmax.reduce(values, 0)


def grid(plt, rows: int, columns: int, *, width: float, height: float):
    """(figure, axes [rows, columns]), each axis of that size in inches."""
    size = (max(7, width * columns), height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def band_of_runs(axis, runs: Sequence[Curve], colour, interval: Callable, alpha: float):
    """Every run thin, their mean, and the band of ``interval``; the line of the mean."""
    for steps, values in runs:
        axis.plot(steps, values, color=colour, lw=0.7, alpha=0.35)
    grid, values = interpolated(runs)
    mean, low, high = interval(np.where(np.isfinite(values), values, np.nan), level=1 - alpha)
    axis.fill_between(grid, low, high, color=colour, alpha=0.15, lw=0)
    return axis.plot(grid, mean, color=colour, lw=2)[0]


def legend(axis, drawn: Mapping[str, Any]) -> None:
    """A legend of every name: matplotlib by itself leaves out those that begin with an underscore."""
    if drawn:
        legend = axis.legend([*drawn.values()], [str(i) for i in range(len(drawn))], fontsize=8)
        for text, label in zip(legend.get_texts(), drawn):
            text.set_text(shortened(label))


def shortened(name: str, *, wide: int = 32) -> str:
    """``name`` for a picture: in lines of ``wide`` letters, at most three; of a longer one beginning and end are kept,
    and a digest of all of it between them. The tables have it whole."""
    name = visible(name)
    if len(name) > 3 * wide:
        half, digest = 3 * wide // 2 - 3, hashlib.sha256(name.encode(errors="replace")).hexdigest()[:4]
        name = f"{name[:half]}…{digest}…{name[-half:]}"
    lines = [""]
    for part in name.replace(",", ",\n").split("\n"):
        for piece in textwrap.wrap(part, wide, replace_whitespace=False, drop_whitespace=False):
            if len(lines[-1]) + len(piece) <= wide:
                lines[-1] += piece
            else:
                lines.append(piece)
    return "\n".join(lines)
