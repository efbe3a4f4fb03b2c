"""From runs to a verdict: arms, endpoints, pairs, one correction, words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppo.compare import ranks, stats
from ppo.compare.arms import Arms, group, lock, one_run_a_seed, pairs, same_runs
from ppo.compare.endpoints import Sample, available, samples
from ppo.compare.notes import about_curves, about_same
from ppo.compare.sentence import decide, decisive, more_seeds, sentence
from ppo.compare.sequential import sequential as always_valid
from ppo.compare.sequential import signs
from ppo.compare.stability import began_at, rollback, stability
from ppo.compare.trial import CompareError, Trial

PRIMARY = ("eval/final", "return/final", "train/final")  # the first that there is decides; the others are descriptive


class Comparison(NamedTuple):
    """The verdict, and what the plots need beside it."""

    verdict: dict
    envs: dict[str, Arms]  # a run for each seed
    samples: dict[tuple[str, str], dict[str, Sample]]  # (environment, endpoint) -> arm -> what the verdict read


def compare(
    trials: Sequence[Trial],
    *,
    by: Sequence[str] = (),
    baseline: str | None = None,
    window: int | None = None,
    allow: Sequence[str] = (),
    alpha: float = 0.05,
    sequential: bool = False,
    within: Sequence[str] = (),
) -> Comparison:
    """Compare the arms that ``by`` makes, environment by environment, over the steps that all their runs have.

    ``verdict["pairs"]`` are the arms with their baseline, or every two; only arms that have the same values of the factors
    in ``within``. Holm corrects over the pairs and environments of
    one endpoint. ``sequential`` decides by an always-valid test of the seeds that both arms have, instead of Welch's;
    then all that is said of a pair is of these seeds. Where a run of a pair failed, ranks decide it (ppo.compare.ranks).
    Raises CompareError on runs that must not be compared.
    """
    if not 0 < alpha < 1:
        raise CompareError(f"--alpha {alpha:g}: expected a number between 0 and 1")
    if window is not None and window < 1:
        raise CompareError(f"--window {window}: expected at least 1")
    if unknown := [factor for factor in within if factor not in by]:
        raise CompareError(f"--within {','.join(unknown)}: is no factor of --by {','.join(by)}")
    envs, notes = _envs(trials, by, allow)
    labels = list(dict.fromkeys(label for arms in envs.values() for label in arms))
    couples = pairs(labels, baseline, within=within)
    if len(labels) > 1 and (baseline or within):
        among = f" with the same {','.join(within)}" if within else ""
        found_in = {label for couple in couples for label in couple}
        notes += [
            f"{label}: not compared, no arm{among} is its counterpart" for label in labels if label not in found_in
        ]
    arm_rows, pair_rows, spans, found = [], [], [], {}
    for env, arms in envs.items():
        same = {(a, b): same_runs(arms[a], arms[b]) for a, b in couples if a in arms and b in arms}
        for endpoint in available([trial for runs in arms.values() for trial in runs]):
            sampled, span = samples(arms, endpoint, window=window)
            found[env, endpoint] = sampled
            spans.append({"env": env, "endpoint": endpoint, "steps": span})
            for label, sample in sampled.items():
                row = {"env": env, "arm": label, "endpoint": endpoint, "failed": int(sample.failed.sum())}
                arm_rows.append(row | stats.summary(sample.values, level=1 - alpha))
            for a, b in couples:
                if a in sampled and b in sampled:
                    names = {"env": env, "endpoint": endpoint, "a": a, "b": b}
                    tested = _pair(sampled[a], sampled[b], same[a, b], names, alpha=alpha, sequential=sequential)
                    pair_rows.append(names | tested)
        ranges = {row["endpoint"].split("/")[0]: row["steps"] for row in spans if row["env"] == env}
        notes += about_curves(env, arms, ranges) + about_same(env, arms, same)
    if not arm_rows:
        raise CompareError("no run has logged a return: nothing to compare")
    for family in _families(pair_rows):
        _correct(family, found, alpha=alpha)
        tests = sum(not _untested(row) for row in family)
        for row in family:
            row["verdict"] = decide(row, alpha=alpha)
            row["sentence"] = sentence(row, alpha=alpha, tests=tests)
            row["more_seeds"] = more_seeds(row, [*envs[row["env"]][row["a"]], *envs[row["env"]][row["b"]]])
    verdict = {
        "alpha": alpha,
        "by": list(by),
        "within": list(within),
        "baseline": baseline,
        "window": window,
        "sequential": sequential,
        "primary": _primary(pair_rows or arm_rows),
        "spans": spans,
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
    return Comparison(verdict, envs, found)


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
            notes += [f"{env}, {label}, seed {t.seed}: {note}" for t in envs[env][label] for note in t.notes]
        if any(trial.code.get("git.dirty") for runs in arms.values() for trial in runs):
            notes.append(
                f"{env}: runs of a checkout with uncommitted changes: that they ran the same code is not known"
            )
        if not by and any(trial.config for trial in trials):
            notes.append(f"{env}: no factor declared, all runs are one arm; name what was changed with --by")
    return envs, notes


def _pair(a: Sample, b: Sample, same: Sequence[int], names: dict, *, alpha: float, sequential: bool) -> dict:
    """All about one pair, of one sample: every seed, or in sequential mode those that both arms have."""
    common = [seed for seed in a.seeds if seed in b.seeds]
    if common and {*same} >= {*common}:
        a, b = a.of(common), b.of(common)
        return stats.untested(a.values, b.values) | {"same_run": True, "flat": False} | _failed(a, b)
    if sequential:
        if not common:
            raise CompareError(f"--sequential: {names['a']} and {names['b']} have no seed in common ({names['env']})")
        a, b = a.of(common), b.of(common)
    ranked = _ranked(a, b)
    row = stats.pair(a.values, b.values, same_seeds=a.seeds == b.seeds, ranked=ranked, alpha=alpha)
    row |= {"same_run": False} | _failed(a, b)
    if not sequential:
        flat = math.isnan(row["rank"]["p"]) if ranked else stats.flat(a.values) and stats.flat(b.values)
        return row | {"flat": flat}
    d = a.values - b.values
    test = signs(*ranked, alpha=alpha) if ranked else always_valid(d, alpha=alpha)
    flat = bool(np.all(ranked[0] == ranked[1])) if ranked else stats.flat(d)
    return row | {"flat": flat, "test": "sequential", "sequential": test | ({"p": math.nan} if flat else {})}


def _ranked(a: Sample, b: Sample) -> stats.Ranked:
    """The scores of both arms where a run of them failed: then ranks decide, for a failed run has a place and no number."""
    return (a.scores, b.scores) if a.failed.any() or b.failed.any() else None


def _failed(a: Sample, b: Sample) -> dict:
    dead_a, dead_b = int(a.failed.sum()), int(b.failed.sum())
    p = ranks.failures_p(dead_a, len(a.failed), dead_b, len(b.failed))
    return {"failed_a": dead_a, "failed_b": dead_b, "failures_p": p}


def _untested(row: dict) -> bool:
    return math.isnan(decisive(row)["p_holm"])


def _primary(rows: Sequence[dict]) -> str:
    """The endpoint that decides: the first of ``PRIMARY`` that these rows have."""
    had = dict.fromkeys(row["endpoint"] for row in rows)
    return next(name for name in (*PRIMARY, *had) if name in had)


def _families(rows: list[dict]) -> list[list[dict]]:
    """The rows that Holm corrects together: of each pair and environment the one that decides (``primary``, which is set
    here), and the others endpoint by endpoint."""
    of_pair: dict[tuple[str, str, str], list[dict]] = {}
    for row in rows:
        of_pair.setdefault((row["env"], row["a"], row["b"]), []).append(row)
    for own in of_pair.values():
        for row in own:
            row["primary"] = row["endpoint"] == _primary(own)
    families: dict[str | None, list[dict]] = {}
    for row in rows:
        families.setdefault(None if row["primary"] else row["endpoint"], []).append(row)
    return [*families.values()]


def _correct(family: list[dict], found: dict[tuple[str, str], dict[str, Sample]], *, alpha: float) -> None:
    """Holm over a family, of the test that decides each; and at the level that it leaves a pair, its interval, the effect it
    could find and the seeds it needs."""
    p = [decisive(row)["p"] for row in family]
    for row, corrected, level in zip(family, stats.holm(p), stats.holm_levels(p, alpha=alpha)):
        decisive(row).update(p_holm=corrected, level=1 - level)
        if not math.isnan(level) and level != alpha:
            sampled = found[row["env"], row["endpoint"]]
            row.update(_at_level(row, sampled[row["a"]], sampled[row["b"]], level))


def _at_level(row: dict, a: Sample, b: Sample, level: float) -> dict:
    """What of a pair depends on the level of its test."""
    test = row["test"]
    if test == "sequential":  # all that is said of this pair is of the seeds that both arms have
        common = [seed for seed in a.seeds if seed in b.seeds]
        a, b = a.of(common), b.of(common)
    ranked = _ranked(a, b)
    foreseen = stats.foresight(a.values, b.values, ranked=ranked, alpha=level)
    if ranked:
        return foreseen
    if test == "sequential":
        interval = always_valid(a.values - b.values, alpha=level)["ci"]
    else:
        interval = stats.welch(a.values, b.values, level=1 - level)["ci"]
    return foreseen | {test: row[test] | {"ci": interval}}


def _stability(envs: dict[str, Arms], couples: Sequence[tuple[str, str]], arm_rows: Sequence[dict]) -> list[dict]:
    """A row an arm; where there is a baseline, ``rollback`` holds the reasons against the arm, else None."""
    means = {(row["env"], row["arm"], row["endpoint"]): row["mean"] for row in arm_rows}
    base = dict(couples)
    rows = []
    for env, arms in envs.items():
        measured = {label: stability(runs) for label, runs in arms.items()}
        endpoint = next((e for e in PRIMARY if any((env, label, e) in means for label in arms)), None)
        began = began_at([t for runs in arms.values() for t in runs], endpoint.split("/")[0]) if endpoint else math.nan
        for label, row in measured.items():
            other, reasons = base.get(label), None
            if other in measured:
                mean, base_mean = (means.get((env, name, endpoint), math.nan) for name in (label, other))
                reasons = rollback(row, measured[other], mean=mean, base_mean=base_mean, began=began)
            rows.append({"env": env, "arm": label, **row, "against": other, "rollback": reasons})
    return rows
