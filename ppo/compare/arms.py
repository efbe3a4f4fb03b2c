"""Which runs form an arm, which arms are compared, and whether anything else differs between them."""

import json
import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ppo.compare.trial import CompareError, Trial
from ppo.config.options import dotted, suggest
from ppo.run.folder import BESIDE

FREE = ("seed", *BESIDE)  # of the configuration, what may differ
UNKNOWN = ("git.commit", "git.dirty", "python")  # a run may not know these of itself
Arms = dict[str, list[Trial]]


def split(texts: str | Sequence[str]) -> list[str]:
    """``["kl,norm", "lr.value"]``, or one such text -> ["kl", "norm", "lr.value"]."""
    listed = [texts] if isinstance(texts, str) else texts
    return [word.strip() for text in listed for word in text.split(",") if word.strip()]


def group(trials: Sequence[Trial], by: Sequence[str]) -> Arms:
    """Label -> runs, in the order they were found. A label is ``kl=exact,norm=none``, or the arm's name in a table.

    Raises CompareError on an unknown factor.
    """
    if any(trial.arm for trial in trials) and tuple(by) not in ((), ("arm",)):
        raise CompareError(f"--by {','.join(by)}: a CSV has no factor but its column arm")
    arms: Arms = {}
    for trial in trials:
        label = trial.arm or ",".join(f"{name}={option(trial, name)}" for name in by) or "all runs"
        arms.setdefault(label, []).append(trial)
    return arms


def option(trial: Trial, factor: str) -> str:
    """What ``trial`` has for ``factor``: the option of a group (``kl`` -> exact), or the value of a dotted key."""
    node = trial.config
    for part in factor.split("."):
        if not isinstance(node, dict) or part not in node:
            known = [key for key in node if key != "_target_"] if isinstance(node, dict) else []
            raise CompareError(f"--by {factor}: no such group or key in {trial.source}{suggest(part, known)}")
        node = node[part]
    if factor == "env" or factor == "seed" or factor.split(".")[0] == "logger":
        raise CompareError(f"--by {factor}: environments are compared apart, seeds are repetitions, loggers no factor")
    if isinstance(node, dict):
        if "_target_" not in node:
            raise CompareError(
                f"--by {factor}: a section; name one of its keys: {', '.join(f'{factor}.{k}' for k in node)}"
            )
        return str(node["_target_"]).rsplit(".", 1)[-1]
    return node if isinstance(node, str) else json.dumps(node, separators=(",", ":"))


def one_run_a_seed(label: str, trials: Sequence[Trial]) -> tuple[list[Trial], list[str]]:
    """(a run for each seed, notes). A seed that failed and was run again is the run that finished.

    Raises CompareError where a seed finished twice: the same run counted twice would look like more evidence.
    """
    seeds: dict[int, Trial] = {}
    notes = []
    for trial in trials:
        other = seeds.get(trial.seed)
        if other and not other.failed and not trial.failed:
            raise CompareError(
                f"{trial.env}, {label}: seed {trial.seed} finished twice, in {other.source} and {trial.source}; give one"
            )
        if other:
            dead = trial if trial.failed else other
            notes.append(f"{trial.env}, {label}: seed {trial.seed} was run again after {dead.source} ({dead.failed})")
        if not other or other.failed:
            seeds[trial.seed] = trial
    return [seeds[seed] for seed in sorted(seeds)], notes


def pairs(labels: Sequence[str], baseline: str | None, *, within: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Every arm (a) with its baseline (b), or without one every two arms; of those that have the same values of the
    factors in ``within``.

    ``baseline`` names an arm, or some of its factors: then an arm's baseline is the one that has those and is otherwise
    like the arm (``norm=none``: ``kl=k1,norm=group`` against ``kl=k1,norm=none``).
    """
    parts = {label: factors(label) for label in labels}
    return [
        (a, b)
        for a, b in _couples(labels, baseline, parts)
        if all(parts[a].get(factor) == parts[b].get(factor) for factor in within)
    ]


def _couples(labels: Sequence[str], baseline: str | None, parts: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
    if baseline is None:
        return list(combinations(labels, 2))
    if baseline in labels:
        return [(label, baseline) for label in labels if label != baseline]
    fixed = factors(baseline)
    bases = [label for label, part in parts.items() if fixed.items() <= part.items()]
    if not bases:
        raise CompareError(f"--baseline {baseline}: no such arm; there are {'; '.join(labels)}")
    found = []
    for label, part in parts.items():
        base = next((other for other in bases if parts[other] == part | fixed), None)
        if label not in bases and base:
            found.append((label, base))
    return found


def factors(label: str) -> dict[str, str]:
    """``kl=exact,network.actor=[64,64]`` -> factor and value; a comma within a list separates nothing."""
    return dict(word.partition("=")[::2] for word in re.split(r",(?=[\w.]+=)", label))


def differences(arms: Arms, by: Sequence[str]) -> dict[str, list[str]]:
    """Key -> its values, for what differs between the runs of one environment and is no declared factor.

    Compared: the resolved configuration without seed and logger, the commit, the versions of Python and of every
    package that several of them had, the source of the user's own code.

    A factor explains what changes between arms, never a difference within one:
    ``--by clip`` does not cover two values of ``clip.eps`` in ``clip=fixed``.
    """
    table = {label: [_facts(trial) for trial in trials] for label, trials in arms.items()}
    every = [facts for rows in table.values() for facts in rows]
    keys = sorted({key for facts in every for key in facts})
    found = {}
    for key in keys:
        values = _distinct(key, every)
        declared = any(_covers(name, key) for name in by) and all(
            len(_distinct(key, rows)) < 2 for rows in table.values()
        )
        if len(values) > 1 and not declared:
            found[key] = values
    return found


def _facts(trial: Trial) -> dict[str, object]:
    flat = dict(dotted(trial.config or {}))
    return {key: value for key, value in flat.items() if not any(_covers(name, key) for name in FREE)} | trial.code


def _distinct(key: str, rows: Sequence[dict]) -> list[str]:
    """The values of ``key``, as text. What a run does not know of itself (no git, no run.json) does not differ, and a
    package that was installed between two runs made none of them different: the first did without it."""
    if key in UNKNOWN or key.startswith(("versions.", "own.")):
        rows = [row for row in rows if row.get(key) is not None]
    return list(dict.fromkeys(json.dumps(row[key]) if key in row else "absent" for row in rows))


_LEARNT = ("train/", "eval/", "loss/", "grad/", "policy/", "value/")  # of a row: what learning did, not how fast


def same_runs(a: Sequence[Trial], b: Sequence[Trial]) -> list[int]:
    """The seeds whose runs in both arms are equal to the last bit: what sets the arms apart changed nothing there.

    Compared is what learning left behind: returns, losses, gradients; of a table the returns. A run that logged one and
    the same return all the time says nothing by itself: it is among them only where all other seeds are equal, too.
    """
    others = {trial.seed: trial for trial in b}
    common = [(trial, others[trial.seed]) for trial in a if trial.seed in others]
    equal = [one.seed for one, other in common if _equal(one, other)]
    telling = [one.seed for one, _ in common if one.seed in equal and _varies(one)]
    return equal if telling and len(equal) == len(common) else telling


def _equal(a: Trial, b: Trial) -> bool:
    if a.rows or b.rows:
        first, second = ([[(k, row[k]) for k in row if k.startswith(_LEARNT)] for row in t.rows] for t in (a, b))
        return repr(first) == repr(second)  # repr: NaN is NaN here
    return a.curves.keys() == b.curves.keys() and all(
        np.array_equal(a.curves[name][axis], b.curves[name][axis]) for name in a.curves for axis in (0, 1)
    )


def _varies(trial: Trial) -> bool:
    logged = any("loss/policy" in row for row in trial.rows)
    return logged or any(np.ptp(values) > 0 for _, values in trial.curves.values())


def lock(env: str, arms: Arms, by: Sequence[str], allow: Sequence[str]) -> list[str]:
    """Notes on what was allowed to differ. Raises CompareError on what was not."""
    found = differences(arms, by)
    refused = [key for key in found if not any(_covers(name, key) for name in allow)]
    if refused:
        listed = ", ".join(_show(key, found[key]) for key in refused)
        than = f"more than {','.join(by)}" if by else "more than the seed"
        raise CompareError(
            f"{env}: the runs differ in {than}: {listed}. Declare it with --by, or accept it: --allow KEY"
        )
    return [f"{env}: allowed to differ: {_show(key, values)}" for key, values in found.items()]


def _show(key: str, values: Sequence[str]) -> str:
    short = [value if len(value) <= 24 else value[:23] + "…" for value in values[:3]]
    return f"{key} ({' | '.join(short)}{' | …' if len(values) > 3 else ''})"


def _covers(name: str, key: str) -> bool:
    return key == name or key.startswith(name + ".")
