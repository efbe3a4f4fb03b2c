"""How an arm behaved on the way, and whether a change should be taken back whatever its return says."""

import math
from collections.abc import Sequence

import numpy as np

from ppo.compare.load import Trial

SPIKE = 0.05  # nat: above it kl/final is in the critical band
LOSS, SLOWDOWN = 0.10, 2.0
_WATCHED = ("loss/", "kl/", "grad/", "policy/")  # explained variance may well be NaN: of a constant target


def stability(trials: Sequence[Trial]) -> dict:
    """One arm's: variances of the losses over updates (mean over runs), shares and counts over all updates of all runs.

    ``kl_spikes``: share of updates that ended with KL(old‖new) > 0.05 nat. ``nonfinite``: updates with a non-finite
    number or a refused step. ``early_stops``: share of updates that were stopped or undone. ``wall_clock``: mean seconds
    of a finished run; ``seconds_per_step``: the median over runs, of failed ones too. What no run logged is NaN.
    """
    updates = [row for trial in trials for row in trial.rows]
    walls = [
        trial.rows[-1]["time/wall"] for trial in trials if not trial.failed and "time/wall" in (trial.rows or [{}])[-1]
    ]
    paces = [t.rows[-1]["time/wall"] / t.rows[-1]["env_steps"] for t in trials if t.rows and "time/wall" in t.rows[-1]]
    return {
        "updates": len(updates),
        "loss_policy_variance": _variance(trials, "loss/policy"),
        "loss_value_variance": _variance(trials, "loss/value"),
        "kl_spikes": _share(
            row["kl/final"] > SPIKE or math.isnan(row["kl/final"]) for row in updates if "kl/final" in row
        ),
        "nonfinite": sum(map(incident, updates)),
        "early_stops": _share(row["update/stop"] != "none" for row in updates if "update/stop" in row),
        "wall_clock": float(np.mean(walls)) if walls else math.nan,
        "seconds_per_step": float(np.median(paces)) if paces else math.nan,
    }


def incident(row: dict) -> bool:
    """Whether a number of this update was not finite."""
    refused = row.get("guard/nonfinite", 0) > 0 or row.get("update/stop") == "nonfinite"
    return refused or any(
        isinstance(value, float) and not math.isfinite(value)
        for name, value in row.items()
        if name.startswith(_WATCHED)
    )


def rollback(arm: dict, base: dict, mean: float, base_mean: float) -> list[str]:
    """Why ``arm`` should be taken back, given both arms' ``stability`` and mean return; empty: no reason.

    It loses more than 10 % of |return|, has non-finite incidents in a larger share of updates, or takes more than twice
    the time for an environment step. Means as they are: no test is meant, a rollback must not wait for significance.
    """
    reasons = []
    if base_mean - mean > LOSS * abs(base_mean):
        reasons.append(f"loses {(base_mean - mean) / abs(base_mean) if base_mean else math.inf:.0%} of return")
    if arm["nonfinite"] * base["updates"] > base["nonfinite"] * arm["updates"]:
        reasons.append(f"non-finite numbers in {arm['nonfinite']} updates, baseline {base['nonfinite']}")
    if arm["seconds_per_step"] > SLOWDOWN * base["seconds_per_step"]:
        reasons.append(f"{arm['seconds_per_step'] / base['seconds_per_step']:.1f} times as slow")
    return reasons


def _variance(trials: Sequence[Trial], name: str) -> float:
    runs = [[row[name] for row in trial.rows if math.isfinite(row.get(name, math.nan))] for trial in trials]
    return (
        float(np.mean([np.var(run, ddof=1) for run in runs if len(run) > 1]))
        if any(len(r) > 1 for r in runs)
        else math.nan
    )


def _share(flags) -> float:
    flags = list(flags)
    return sum(flags) / len(flags) if flags else math.nan
