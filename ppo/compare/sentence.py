"""What a person can quote: a pair in one sentence with its uncertainty, and the command that would add seeds."""

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from ppo.compare.load import Trial
from ppo.compare.stats import MIN_SEEDS

HIGHER, LOWER, UNDECIDED, NONE = "a is higher", "b is higher", "undecided", "no comparison"


def number(x: float | None) -> str:
    """Three digits below a thousand, whole numbers above."""
    if x is None or math.isnan(x):
        return "unknown"
    if math.isinf(x):
        return "infinity" if x > 0 else "-infinity"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def decide(pair: dict, *, alpha: float) -> str:
    """One of the four words. Decided is what Holm's correction leaves below ``alpha``, with five seeds in both arms."""
    if min(pair["n_a"], pair["n_b"]) < MIN_SEEDS:
        return NONE
    test = pair.get("sequential") or pair["welch"]
    if not test["p_holm"] < alpha:
        return UNDECIDED
    return HIGHER if test.get("difference", pair["difference"]) > 0 else LOWER


def sentence(pair: dict, *, alpha: float, tests: int) -> str:
    """The quotable sentence of a pair whose ``verdict`` is known. ``tests``: how many Holm corrected for."""
    a, b, gap = pair["a"], pair["b"], abs(pair["difference"])
    seeds = f"{pair['n_a']} against {pair['n_b']} seeds"
    counts = ((pair["failed_a"], pair["n_a"], a), (pair["failed_b"], pair["n_b"], b))
    dead = " and ".join(f"{failed} of {n} runs of {arm}" for failed, n, arm in counts if failed)
    tail = f" Failed, and counted as the lowest return: {dead}." if dead else ""
    side = "above" if pair["difference"] >= 0 else "below"
    start = f"{pair['env']}, {pair['endpoint']}: "
    if pair["verdict"] == NONE:
        so_far = f"so far {a} lies {number(gap)} {side} {b}"
        return f"{start}this is no comparison: {seeds}, and below {MIN_SEEDS} an arm nothing is known ({so_far}).{tail}"
    test = pair.get("sequential") or pair["welch"]
    low, high = test["ci"]
    kind = "always-valid " if "sequential" in pair else ""
    many = f" after Holm's correction over {tests} tests" if tests > 1 else ""
    how_sure = (
        f"{1 - alpha:.0%} {kind}interval of the difference {number(low)} to {number(high)}; "
        f"p = {number(test['p_holm'])}{many}; P(A > B) = {pair['superiority']['p']:.2f}; {seeds}"
    )
    if pair["verdict"] in (HIGHER, LOWER):
        word = "higher" if pair["verdict"] == HIGHER else "lower"
        return f"{start}{a} is {word} than {b} by {number(gap)} ({how_sure}).{tail}"
    if math.isnan(test["p_holm"]):
        return f"{start}undecided: the runs have no spread, {a} lies {number(gap)} {side} {b} ({seeds}).{tail}"
    if "sequential" in pair:
        start += "undecided so far: "
        return f"{start}{a} lies {number(gap)} {side} {b} ({how_sure}). Another pair of seeds may be added.{tail}"
    found = (
        f" With this spread and these seeds a true difference of {number(pair['mde_80'])} is found four times in five"
    )
    more = f"; one as large as that seen needs {pair['seeds_needed']} seeds an arm" if pair["seeds_needed"] else ""
    return f"{start}undecided: {a} lies {number(gap)} {side} {b} ({how_sure}).{found}{more}.{tail}"


def more_seeds(pair: dict, trials: Sequence[Trial]) -> list[str]:
    """The commands that add the seeds which an open pair lacks; none where it is decided or the command is not known."""
    if pair["verdict"] in (HIGHER, LOWER):
        return []
    have = min(pair["n_a"], pair["n_b"])
    planned = 0 if "sequential" in pair else pair["seeds_needed"] or 0  # sequentially: one more, then look again
    wanted = max(planned, MIN_SEEDS, have + 1) - have
    first = max(trial.seed for trial in trials) + 1
    last = first + wanted
    seeds = ",".join(map(str, range(first, last))) if wanted <= 8 else f"range({first},{last})"
    lines = [with_seeds(trial.command, seeds) for trial in trials if trial.command]
    return list(dict.fromkeys(line for line in lines if line))


def with_seeds(command: str, seeds: str) -> str | None:
    """``command`` as a multirun over ``seeds``; None where it is not a run of ppo.train."""
    words = [word for word in shlex.split(command) if not word.lstrip("+").startswith(("seed=", "hydra.run.dir="))]
    program = next((i for i, word in enumerate(words) if _trains(word)), None)
    if program is None:
        return None
    head, options = words[: program + 1], words[program + 1 :]
    sweep = [] if {"-m", "--multirun"} & set(options) else ["-m"]
    return shlex.join([*head, *sweep, *options, f"seed={seeds}"])


def _trains(word: str) -> bool:
    return word == "ppo.train" or PurePath(word).as_posix().endswith(("ppo-train", "ppo/train.py"))
