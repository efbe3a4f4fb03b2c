"""How an arm behaved on the way, and whether a change should be taken back whatever its return says."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ppo.compare.sentence import number
from ppo.compare.trial import Trial
from ppo.logging.band import EDGES

SPIKE = EDGES[-1]  # nat: above it kl/final is in the critical band
LOSS, SLOWDOWN = 0.10, 2.0
_WATCHED = ("loss/", "kl/", "grad/", "policy/")  # explained variance may well be NaN: of a constant target


def stability(trials: Sequence[Trial]) -> dict:
    """One arm's: variances of the losses over updates (mean over runs), shares and counts over all updates of all runs.

    ``kl_spikes``: share of updates that ended with KL(old‖new) > 0.05 nat. ``nonfinite``: updates with a non-finite
    number or a refused step. ``early_stops``: share of updates that were stopped or undone. ``wall_clock``: mean seconds
    of a finished run; ``seconds_per_step``: the median over runs, of failed ones too. What no run logged is NaN.
    """
    updates = [row for trial in trials for row in trial.rows]
    last = [(trial, trial.rows[-1]) for trial in trials if trial.rows]
    walls = [_value(row, "time/wall") for trial, row in last if not trial.failed]
    paces = [_value(row, "time/wall") / (_value(row, "env_steps") or math.nan) for _, row in last]
    spikes = [_value(row, "kl/final") for row in updates if "kl/final" in row]
    return {
        "updates": len(updates),
        "loss_policy_variance": _variance(trials, "loss/policy"),
        "loss_value_variance": _variance(trials, "loss/value"),
        "kl_spikes": _share([not kl <= SPIKE for kl in spikes]),
        "nonfinite": sum(map(incident, updates)),
        "early_stops": _share([row["update/stop"] != "none" for row in updates if "update/stop" in row]),
        "wall_clock": _over_known(np.mean, walls),
        "seconds_per_step": _over_known(np.median, paces),
    }


def incident(row: dict) -> bool:
    """Whether a number of this update was not finite."""
    refused = _value(row, "guard/nonfinite") > 0 or row.get("update/stop") == "nonfinite"
    return refused or any(
        isinstance(value, float) and not math.isfinite(value)
        for name, value in row.items()
        if name.startswith(_WATCHED)
    )


def began_at(trials: Sequence[Trial], curve: str) -> float:
    """The return that training began with: the first of each run's ``curve``, the mean over all runs; NaN where none. The
    only one of a run is no beginning: it may be its end (``eval.every=0``)."""
    values = [trial.curves[curve][1] for trial in trials if curve in trial.curves]
    return _over_known(np.mean, [float(curve[0]) for curve in values if len(curve) > 1])


def rollback(arm: dict, base: dict, *, mean: float, base_mean: float, began: float) -> list[str]:
    """Why ``arm`` should be taken back, given both arms' ``stability`` and mean return and what all runs ``began`` with;
    empty: no reason.

    It loses more than 10 % of what the baseline gained, (base_mean - mean) / (base_mean - began), has non-finite incidents
    in a larger share of updates, or takes more than twice the time for an environment step. Means as they are: no test is
    meant, a rollback must not wait for significance. A baseline that gained nothing has nothing to lose a share of.
    """
    reasons, gained = [], base_mean - began
    if gained > 0 and base_mean - mean > LOSS * gained:
        share = (base_mean - mean) / gained
        reasons.append(f"loses {share:.0%} of what the baseline gained ({number(began)} to {number(base_mean)})")
    if arm["nonfinite"] * base["updates"] > base["nonfinite"] * arm["updates"]:
        reasons.append(f"non-finite numbers in {arm['nonfinite']} updates, baseline {base['nonfinite']}")
    if arm["seconds_per_step"] > SLOWDOWN * base["seconds_per_step"]:
        reasons.append(f"{arm['seconds_per_step'] / base['seconds_per_step']:.1f} times as slow")
    return reasons


def _variance(trials: Sequence[Trial], name: str) -> float:
    runs = [[value for row in trial.rows if math.isfinite(value := _value(row, name))] for trial in trials]
    return _over_known(np.mean, [float(np.var(run, ddof=1)) for run in runs if len(run) > 1])


def _over_known(statistic: Callable, values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(statistic(known)) if known else math.nan


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else math.nan


def _value(row: dict, name: str) -> float:
    """A number of a row; NaN where it was not logged, or is no number."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
