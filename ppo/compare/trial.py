"""One run as a comparison sees it, whatever wrote it, and what its curve says of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]  # environment steps, ascending, and returns, all finite
CURVES = {"eval": "evaluation return", "train": "training return", "return": "return"}  # what a curve is called
HUGE = 1e100  # the square of what lies beyond overflows: as a return it is as good as infinite
COMPLETE = 0.9  # a table cannot say that a run died: one that ends before this share of its arm's longest did


class CompareError(ValueError):
    """What was given cannot be compared. One line: what, where, and what would help."""


class Trial(NamedTuple):
    """One run: an environment, a seed, and what became of it."""

    env: str
    seed: int
    arm: str | None  # as a table names it; None: to be derived from the configuration
    failed: str | None  # why it counts as failed; None: finished
    curves: dict[
        str, Curve
    ]  # "eval", "train" (our own runs) or "return" (a table); one that was not logged is not there
    rows: list[dict]  # metrics.jsonl
    config: dict | None  # as it was resolved; None: not known
    code: dict  # "git.commit", "versions.torch" ...: what must be equal beside the configuration
    command: str | None  # as typed
    source: Path
    notes: tuple[str, ...] = ()  # what was left out of its curves, and why


class Logged(NamedTuple):
    """A curve that was read, why its run counts as failed by it (None: it does not), and what was left out."""

    curve: Curve | None  # None: no finite return at all
    failed: str | None
    notes: tuple[str, ...]


def logged(points: Sequence[tuple[float, float]], what: str = "return") -> Logged:
    """The curve of ``points``, (step, return) in the order in which they were written.

    A NaN among finite returns is a place without a value and is left out, with a note; a run whose last return is NaN,
    or that ever returned infinity, counts as failed. None of this depends on an endpoint or its window.
    Raises CompareError, without a place, where the points are those of two runs.
    """
    points, twice = resumed(points)
    notes = [f"{twice} rows logged twice, as by a run that was resumed: the later ones count"] if twice else []
    infinite = [(step, value) for step, value in points if abs(value) > HUGE]
    holes = [step for step, value in points if np.isnan(value)]
    failed = None
    if infinite:
        failed = f"its {what} at step {steps_text(infinite[0][0])} is {infinite[0][1]}"
    elif holes and holes[-1] == points[-1][0]:
        failed = f"its last {what}, at step {steps_text(holes[-1])}, is NaN"
    elif holes:
        notes.append(
            f"{len(holes)} of {len(points)} values of {what} are NaN, the first at step {steps_text(holes[0])}"
        )
    finite = [(step, value) for step, value in points if abs(value) <= HUGE]
    if not finite:
        return Logged(None, failed or f"it logged no {what}", tuple(notes))
    steps, values = np.array(finite, dtype=float).T
    return Logged((steps, values), failed, tuple(notes))


def resumed(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], int]:
    """(points by ascending step, each step once; how many were dropped). A resumed run repeats the last rows of the
    attempt before, perhaps at other steps: where the steps go back, what came after is the run.

    Points that go back at more than one row in ten are a table in no order, and so are those sorted as text (100, 1000, 200);
    of equal steps the later row counts.
    Raises CompareError where every step is there twice with other returns: two runs under one seed.
    """
    if not points:
        return [], 0
    times = Counter(step for step, _ in points)
    if min(times.values()) > 1 and len({(step, str(value)) for step, value in points}) > len(times):
        raise CompareError(f"step {steps_text(points[0][0])} twice, and so every step: two runs under one seed?")
    starts = [i for i in range(1, len(points)) if points[i][0] < points[i - 1][0]]
    texts = [f"{step:.17g}" for step, _ in points]
    ordered = len(starts) <= len(points) // 10 and texts != sorted(texts)
    kept: dict[float, float] = {}
    for begin, end in zip([0, *starts], [*starts, len(points)]):
        piece = points[begin:end]
        repeated = [step for step in kept if step >= piece[0][0]]
        if ordered and repeated and min(repeated) <= piece[-1][0]:
            for step in repeated:
                del kept[step]
        kept.update(piece)
    return sorted(kept.items()), len(points) - len(kept)


def without_ends(trials: Sequence[Trial]) -> list[Trial]:
    """``trials`` of tables, those marked as failed that end before 90 % of the longest run of their arm.

    Not those whose next row would have lain beyond that end: a log with a row an episode ends with the last episode
    that fitted into the budget.
    """
    longest: dict[tuple[str, str | None], float] = {}
    for trial in trials:
        for steps, _ in trial.curves.values():
            key = trial.env, trial.arm
            longest[key] = max(longest.get(key, steps[-1]), steps[-1])
    return [_judged(trial, longest.get((trial.env, trial.arm), 0.0)) for trial in trials]


def _judged(trial: Trial, longest: float) -> Trial:
    if trial.failed or not trial.curves:
        return trial
    (steps, _), *_ = trial.curves.values()
    next_row = steps[-1] + np.diff(steps, prepend=0.0).max()
    if steps[-1] >= COMPLETE * longest or next_row > longest:
        return trial
    return trial._replace(failed=f"ends at step {steps_text(steps[-1])} of {steps_text(longest)}")


def steps_text(step: float) -> str:
    """A number of environment steps for people: 1,000,000."""
    return f"{step:,.0f}" if step == round(step) else f"{step:,.6g}"
