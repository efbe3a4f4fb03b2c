"""Return over distance: how far the updates of an arm went, beside what it earned (``compare_runs.py --x kl/final``).

Methods with their papers' settings do not go equally far, so that comparing them compares step sizes. Arms that are
``method x distance`` (``match_kl=0.005,0.01,0.02``) give a curve for each method, and a verdict at each distance.
"""

import csv
import difflib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ppo.compare.arms import factors
from ppo.compare.compare import PRIMARY, Comparison, compare
from ppo.compare.printed import print_line, print_table
from ppo.compare.sentence import number
from ppo.compare.trial import CompareError, Trial
from ppo.logging.files import write_atomically
from ppo.page.thin import mean_interval

OFF = 0.15  # a reached KL that differs from its target by a larger share is marked
DISTANCES = ("match_kl",)  # factors that are distances: arms are compared within one, unless --within says otherwise


def compared(
    trials: Sequence[Trial], *, by: Sequence[str], within: Sequence[str] = (), x: str | None = None, **options: Any
) -> Comparison:
    """``compare``, and with ``x`` return over that metric as ``verdict["distance"]``. Raises CompareError."""
    if x and not within:
        within = [factor for factor in by if factor in DISTANCES]
    comparison = compare(trials, by=by, within=within, **options)
    if x:
        comparison.verdict["distance"] = {"x": x, "rows": distances(comparison, x)}
    return comparison


def distances(comparison: Comparison, x: str) -> list[dict]:
    """A row an arm, by environment, method and distance: ``x``, the mean of that metric over the updates of a run, and
    the return at the first primary endpoint of the environment, each with its mean over runs and t interval.

    ``method``: the arm without the factors in ``verdict["within"]``. ``marks``: why it is not at its distance, if so.
    Raises CompareError where no run logged ``x``.
    """
    level, within = 1 - comparison.verdict["alpha"], comparison.verdict["within"]
    rows = []
    for env, arms in comparison.envs.items():
        endpoint = next((name for name in PRIMARY if (env, name) in comparison.samples), None)
        sampled = comparison.samples[env, endpoint] if endpoint else {}
        for label in sampled:
            went = np.array([mean for trial in arms[label] if not math.isnan(mean := over_updates(trial, x))])
            if not len(went):
                continue
            values, part = sampled[label].values, factors(label)
            row = {
                "env": env,
                "arm": label,
                "method": ",".join(f"{k}={v}" if v else k for k, v in part.items() if k not in within) or "all runs",
                "within": {k: part[k] for k in within if k in part},
                "endpoint": endpoint,
                "n": len(values),
                "failed": int(sampled[label].failed.sum()),
                "x": float(went.mean()),
                "x_ci": _interval(went, level),
                "return": float(values.mean()),
                "return_ci": _interval(values, level),
                "marks": marks(arms[label]),
            }
            rows.append(row)
    if not rows:
        near = difflib.get_close_matches(x, sorted(_numbers(comparison)), 3, cutoff=0.0)
        meant = f"nearest: {', '.join(near)}" if near else "there is none"
        raise CompareError(f"--x {x}: no run logged such a metric; {meant}")
    envs = list(comparison.envs)
    return sorted(rows, key=lambda row: (envs.index(row["env"]), row["method"], row["x"]))


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    _, low, high = mean_interval(values[:, None], level=level)
    return float(low[0]), float(high[0])


def _numbers(comparison: Comparison) -> set[str]:
    """The metrics that are numbers, of every run."""
    trials = [trial for arms in comparison.envs.values() for runs in arms.values() for trial in runs]
    rows = (row for trial in trials for row in trial.rows)
    return {name for row in rows for name, value in row.items() if isinstance(value, int | float)}


def over_updates(trial: Trial, metric: str) -> float:
    """The mean of a metric over the updates of a run that logged it as a finite number; NaN where none did."""
    values = [row[metric] for row in trial.rows if isinstance(row.get(metric), int | float)]
    values = [value for value in values if math.isfinite(value)]
    return float(np.mean(values)) if values else math.nan


def marks(trials: Sequence[Trial]) -> list[str]:
    """Why the runs of an arm with ``match_kl`` are not at the distance that it asked for; empty: they are, or none was
    asked for."""
    last = [(trial.seed, _last(trial)) for trial in trials]
    bound = [str(seed) for seed, row in last if row.get("match/at_bound") == 1]
    found = [f"at its bound in seed {', '.join(bound)}"] if bound else []
    matched = [(row["match/reached"], row["match/target"]) for _, row in last if {*_MATCHED} <= row.keys()]
    if matched:
        reached, target = np.mean(matched, axis=0)
        if not abs(reached - target) <= OFF * target:
            found.append(f"reached {number(float(reached))} of {number(float(target))}")
    return found


_MATCHED = ("match/reached", "match/target")


def _last(trial: Trial) -> dict:
    """What the run logged last of its match."""
    found = {}
    for row in trial.rows:
        found |= {name: value for name, value in row.items() if name.startswith("match/")}
    return found


def cells(rows: Sequence[dict], x: str) -> tuple[list[str], list[list[str]]]:
    """(columns, a line an arm) for people."""
    keys = list(dict.fromkeys(key for row in rows for key in row["within"]))
    names = ["env", "method", *keys, "n", "failed", x, "interval", rows[0]["endpoint"], "interval", "marked"]
    lines = [
        [
            *(
                row["env"],
                row["method"],
                *(row["within"].get(key, "–") for key in keys),
                str(row["n"]),
                str(row["failed"]),
            ),
            *(number(row["x"]), _span(row["x_ci"]), number(row["return"]), _span(row["return_ci"])),
            "; ".join(row["marks"]),
        ]
        for row in rows
    ]
    return names, lines


def _span(ci: tuple[float, float]) -> str:
    return f"{number(ci[0])} to {number(ci[1])}" if math.isfinite(ci[0]) else "–"


def show(rows: Sequence[dict], x: str, console: Console) -> None:
    """Print the table, and what an arm that is marked means."""
    columns, lines = cells(rows, x)
    print_table(console, columns, lines, title=f"Return over {x}: means over seeds, a method's arms by distance")
    for row in rows:
        if row["marks"]:
            print_line(console, f"! {row['env']}: {row['arm']} is not at its distance: {'; '.join(row['marks'])}")
    console.print()


def write_csv(rows: Sequence[dict], x: str, path: Path) -> None:
    """The same as a table for other programs, at full precision."""
    keys = list(dict.fromkeys(key for row in rows for key in row["within"]))
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    ends = ("mean", "low", "high")
    table.writerow(
        ["env", "arm", "method", *keys, "endpoint", "n", "failed"]
        + [f"{name} {end}" for name in (x, "return") for end in ends]
        + ["marked"]
    )
    for row in rows:
        head = [row["env"], row["arm"], row["method"], *(row["within"].get(key, "") for key in keys), row["endpoint"]]
        numbers = [row["n"], row["failed"], row["x"], *row["x_ci"], row["return"], *row["return_ci"]]
        table.writerow([*head, *numbers, "; ".join(row["marks"])])
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))
