"""From runs to a verdict: arms, endpoints, pairs, one correction, words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppo.compare import stats
from ppo.compare.arms import Arms, group, lock, one_run_a_seed, pairs
from ppo.compare.endpoints import available, scores
from ppo.compare.load import CompareError, Trial
from ppo.compare.sentence import decide, more_seeds, sentence
from ppo.compare.sequential import sequential as always_valid
from ppo.compare.stability import rollback, stability

ROLLBACK_BY = ("eval/final", "return/final", "train/final")  # the first that there is


class Comparison(NamedTuple):
    """The verdict, and what the plots need beside it."""

    verdict: dict
    envs: dict[str, Arms]  # a run for each seed


def compare(
    trials: Sequence[Trial],
    *,
    by: Sequence[str] = (),
    baseline: str | None = None,
    window: int | None = None,
    allow: Sequence[str] = (),
    alpha: float = 0.05,
    sequential: bool = False,
) -> Comparison:
    """Compare the arms that ``by`` makes, environment by environment.

    ``verdict["pairs"]`` are the arms with their baseline, or every two. Holm corrects over the pairs and environments of
    one endpoint. ``sequential`` decides by an always-valid test of the seeds that both arms have, instead of Welch's.
    Raises CompareError on runs that must not be compared.
    """
    if not 0 < alpha < 1:
        raise CompareError(f"--alpha {alpha:g}: expected a number between 0 and 1")
    if window is not None and window < 1:
        raise CompareError(f"--window {window}: expected at least 1")
    envs, notes = _envs(trials, by, allow)
    labels = list(dict.fromkeys(label for arms in envs.values() for label in arms))
    couples = pairs(labels, baseline)
    arm_rows, pair_rows = [], []
    for env, arms in envs.items():
        for endpoint in available([trial for runs in arms.values() for trial in runs]):
            values, dead = _scored(arms, endpoint, window)
            for label in arms:
                row = {"env": env, "arm": label, "endpoint": endpoint, "failed": int(dead[label].sum())}
                arm_rows.append(row | stats.summary(values[label], level=1 - alpha))
            for a, b in couples:
                if a in arms and b in arms:
                    names = {"env": env, "endpoint": endpoint, "a": a, "b": b}
                    counts = {"failed_a": int(dead[a].sum()), "failed_b": int(dead[b].sum())}
                    pair_rows.append(names | counts | _pair(arms, values, a, b, alpha=alpha, sequential=sequential))
    if not arm_rows:
        raise CompareError("no run has logged a return: nothing to compare")
    _correct(pair_rows)
    for row in pair_rows:
        tests = sum(other["endpoint"] == row["endpoint"] for other in pair_rows)
        row["verdict"] = decide(row, alpha=alpha)
        row["sentence"] = sentence(row, alpha=alpha, tests=tests)
        row["more_seeds"] = more_seeds(row, [*envs[row["env"]][row["a"]], *envs[row["env"]][row["b"]]])
    verdict = {
        "alpha": alpha,
        "by": list(by),
        "baseline": baseline,
        "window": window,
        "sequential": sequential,
        "arms": arm_rows,
        "pairs": pair_rows,
        "stability": _stability(envs, couples if baseline else [], arm_rows),
        "failures": [
            {"env": env, "arm": label, "seed": trial.seed, "reason": trial.failed, "source": str(trial.source)}
            for env, arms in envs.items()
            for label, runs in arms.items()
            for trial in runs
            if trial.failed
        ],
        "notes": notes,
    }
    return Comparison(verdict, envs)


def _envs(trials: Sequence[Trial], by: Sequence[str], allow: Sequence[str]) -> tuple[dict[str, Arms], list[str]]:
    """Environment -> arm -> one run a seed, and notes. The lock is tried on every environment."""
    envs: dict[str, Arms] = {}
    notes: list[str] = []
    for env in dict.fromkeys(trial.env for trial in trials):
        arms = group([trial for trial in trials if trial.env == env], by)
        notes += lock(env, arms, by, allow)
        envs[env] = {}
        for label, runs in arms.items():
            envs[env][label], again = one_run_a_seed(label, runs)
            notes += again
        if any(trial.code.get("git.dirty") for runs in arms.values() for trial in runs):
            notes.append(
                f"{env}: runs of a checkout with uncommitted changes: that they ran the same code is not known"
            )
        if not by and any(trial.config for trial in trials):
            notes.append(f"{env}: no factor declared, all runs are one arm; name what was changed with --by")
    return envs, notes


def _scored(arms: Arms, endpoint: str, window: int | None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Label -> values, label -> failed. Scored together: a failed run's value is the lowest of the environment."""
    values, failed = scores([trial for runs in arms.values() for trial in runs], endpoint, window=window)
    ends = np.cumsum([len(runs) for runs in arms.values()])[:-1]
    return dict(zip(arms, np.split(values, ends))), dict(zip(arms, np.split(failed, ends)))


def _pair(arms: Arms, values: dict[str, np.ndarray], a: str, b: str, *, alpha: float, sequential: bool) -> dict:
    seeds = {label: [trial.seed for trial in arms[label]] for label in (a, b)}
    row = stats.pair(values[a], values[b], same_seeds=seeds[a] == seeds[b], alpha=alpha)
    if sequential:
        at = {label: dict(zip(seeds[label], values[label])) for label in (a, b)}
        d = np.array([at[a][seed] - at[b][seed] for seed in seeds[a] if seed in at[b]])
        if not len(d):
            raise CompareError(f"--sequential: {a} and {b} have no seed in common")
        row["sequential"] = always_valid(d, alpha=alpha)
    return row


def _correct(rows: list[dict]) -> None:
    """Holm over pairs and environments, endpoint by endpoint, of each test that decides."""
    for endpoint in dict.fromkeys(row["endpoint"] for row in rows):
        for test in ("welch", "sequential"):
            tests = [row[test] for row in rows if row["endpoint"] == endpoint and test in row]
            for result, p in zip(tests, stats.holm([result["p"] for result in tests])):
                result["p_holm"] = p


def _stability(envs: dict[str, Arms], couples: Sequence[tuple[str, str]], arm_rows: Sequence[dict]) -> list[dict]:
    """A row an arm; where there is a baseline, ``rollback`` holds the reasons against the arm, else None."""
    means = {(row["env"], row["arm"], row["endpoint"]): row["mean"] for row in arm_rows}
    base = dict(couples)
    rows = []
    for env, arms in envs.items():
        measured = {label: stability(runs) for label, runs in arms.items()}
        endpoint = next((e for e in ROLLBACK_BY if any((env, label, e) in means for label in arms)), None)
        for label, row in measured.items():
            other, reasons = base.get(label), None
            if other in measured:
                mean, base_mean = (means.get((env, name, endpoint), math.nan) for name in (label, other))
                reasons = rollback(row, measured[other], mean, base_mean)
            rows.append({"env": env, "arm": label, **row, "against": other, "rollback": reasons})
    return rows
