"""What a person can quote: a pair in one sentence with its uncertainty, and the command that would add seeds."""

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from ppo.compare.stats import MIN_SEEDS
from ppo.compare.trial import Trial

HIGHER, LOWER, UNDECIDED, NONE = "a is higher", "b is higher", "undecided", "no comparison"
SAME, FLAT = "the same run", "no spread"
CLOSED = (HIGHER, LOWER, SAME, FLAT)  # more seeds would not change these


def number(x: float | None) -> str:
    """Three digits, from a thousand to a billion whole numbers."""
    if x is None or math.isnan(x):
        return "unknown"
    if math.isinf(x):
        return "infinity" if x > 0 else "-infinity"
    return f"{x:,.0f}" if 999.5 <= abs(x) < 1e9 else f"{x:.3g}"


def p_value(p: float, alpha: float) -> str:
    """Three digits, and more where they would put p on the other side of ``alpha``."""
    text = number(p)
    return f"{p:.6g}" if not math.isnan(p) and (float(text) < alpha) != (p < alpha) else text


def decide(pair: dict, *, alpha: float) -> str:
    """One of the six words. Decided is what Holm's correction leaves below ``alpha``, with five seeds in both arms.

    Direction, p and interval are those of one test of one sample: where the p is below alpha, the interval lies on
    one side of 0.
    """
    if pair.get("same_run"):
        return SAME
    if min(pair["n_a"], pair["n_b"]) < MIN_SEEDS:
        return NONE
    test = pair.get("sequential") or pair["welch"]
    if pair.get("flat"):
        return FLAT
    if not test["p_holm"] < alpha:
        return UNDECIDED
    return HIGHER if pair["difference"] > 0 else LOWER


def sentence(pair: dict, *, alpha: float, tests: int) -> str:
    """The quotable sentence of a pair whose ``verdict`` is known. ``tests``: how many Holm corrected for."""
    a, b, gap = pair["a"], pair["b"], abs(pair["difference"])
    paired, n = "sequential" in pair, pair["n_a"]
    seeds = f"{n} pair{'s' if n != 1 else ''} of seeds" if paired else f"{pair['n_a']} against {pair['n_b']} seeds"
    side = "above" if pair["difference"] >= 0 else "below"
    so_far = f"{a} lies {number(gap)} {side} {b}" if gap else f"{a} and {b} are level"
    start, tail = f"{pair['env']}, {pair['endpoint']}: ", _failures(pair)
    if pair["verdict"] == SAME:
        return (
            f"{pair['env']}: {a} and {b} are the same run: in every seed that both have ({n}) all that learning logged is "
            "equal to the last digit. What sets these arms apart changed nothing; there is nothing to test."
        )
    if pair["verdict"] == NONE:
        return f"{start}this is no comparison: {seeds}, and below {MIN_SEEDS} an arm nothing is known (so far {so_far}).{tail}"
    if pair["verdict"] == FLAT:
        what = "the difference between the arms is the same in every pair" if paired else "all runs of an arm are equal"
        return (
            f"{start}no test is possible: {what} ({seeds}; {so_far}). Without a spread between seeds nothing says how "
            f"far another seed would lie; does the seed reach the environment and the policy?{tail}"
        )
    test = pair.get("sequential") or pair["welch"]
    low, high = test["ci"]
    kind = "always-valid " if paired else ""
    many = f" after Holm's correction over {tests} tests" if tests > 1 else ""
    how_sure = (
        f"{100 * test.get('level', 1 - alpha):.3g}% {kind}interval of the difference {number(low)} to {number(high)}; "
        f"p = {p_value(test['p_holm'], alpha)}{many}; P(A > B) = {pair['superiority']['p']:.2f}; {seeds}"
    )
    if pair["verdict"] in (HIGHER, LOWER):
        word = "higher" if pair["verdict"] == HIGHER else "lower"
        return f"{start}{a} is {word} than {b} by {number(gap)} ({how_sure}).{tail}"
    if paired:
        return f"{start}undecided so far: {so_far} ({how_sure}). Another pair of seeds may be added.{tail}"
    found = (
        f" With this spread and these seeds a true difference of {number(pair['mde_80'])} is found four times in five"
    )
    more = f"; one as large as that seen needs {pair['seeds_needed']} seeds an arm" if pair["seeds_needed"] else ""
    return f"{start}undecided: {so_far} ({how_sure}).{found}{more}.{tail}"


def _failures(pair: dict) -> str:
    counts = ((pair["failed_a"], pair["n_a"], pair["a"]), (pair["failed_b"], pair["n_b"], pair["b"]))
    if not any(failed for failed, _, _ in counts):
        return ""
    dead = " and ".join(f"{failed} of {n} runs of {arm}" for failed, n, arm in counts if failed)
    return (
        f" Failed, and counted as the lowest return: {dead} (p of failing equally often: {number(pair['failures_p'])})."
    )


def more_seeds(pair: dict, trials: Sequence[Trial]) -> list[str]:
    """The commands that add the seeds which an open pair lacks; none where it is decided or the command is not known."""
    if pair["verdict"] in CLOSED:
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
    """``command`` as a multirun over ``seeds``, quoted for a shell; None where it is not a run of ppo.train."""
    try:
        typed = shlex.split(command)
    except ValueError:  # not as a shell quotes
        return None
    words = [word for word in typed if not word.lstrip("+").startswith(("seed=", "hydra.run.dir="))]
    program = next((i for i, word in enumerate(words) if _trains(word)), None)
    if program is None:
        return None
    head, options = words[: program + 1], words[program + 1 :]
    sweep = [] if {"-m", "--multirun"} & set(options) else ["-m"]
    return shlex.join([*head, *sweep, *options, f"seed={seeds}"])


def _trains(word: str) -> bool:
    return word == "ppo.train" or PurePath(word).as_posix().endswith(("ppo-train", "ppo/train.py"))
