"""What a person can quote: a pair in one sentence with its uncertainty, and the command that would add seeds."""

import math
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from ppo.compare.ranks import smallest_p
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


def decisive(pair: dict) -> dict:
    """The test that decides the pair: its p, and once all pairs are known p_holm and level."""
    return pair[pair["test"]]


def ranked(pair: dict) -> bool:
    """Whether ranks decide the pair, because a run of it failed."""
    return pair["failed_a"] + pair["failed_b"] > 0 and not pair["same_run"]


def decide(pair: dict, *, alpha: float) -> str:
    """One of the six words. Decided is what Holm's correction leaves below ``alpha``, with five seeds in both arms.

    Direction, p and interval are those of one test of one sample: where the p is below alpha, the interval lies on
    one side of 0.
    """
    if pair["same_run"]:
        return SAME
    if min(pair["n_a"], pair["n_b"]) < MIN_SEEDS:
        return NONE
    if pair["flat"]:
        return FLAT
    if not decisive(pair)["p_holm"] < alpha:
        return UNDECIDED
    return HIGHER if _lead(pair) > 0 else LOWER


def _lead(pair: dict) -> float:
    """Above 0 where a is ahead, in the eyes of the test that decides."""
    if not ranked(pair):
        return pair["difference"]
    test = decisive(pair)
    return test["higher"] - test["lower"] if pair["test"] == "sequential" else pair["superiority"]["p"] - 0.5


def sentence(pair: dict, *, alpha: float, tests: int) -> str:
    """The quotable sentence of a pair whose ``verdict`` is known. ``tests``: how many Holm corrected for."""
    a, b, start = pair["a"], pair["b"], f"{pair['env']}, {pair['endpoint']}: "
    seeds, so_far = _seeds(pair), _so_far(pair)
    if pair["verdict"] == SAME:
        return (
            f"{pair['env']}: {a} and {b} are the same run: in every seed that both have ({pair['n_a']}) all that learning "
            "logged is equal to the last digit. What sets these arms apart changed nothing; there is nothing to test."
        )
    if ranked(pair):
        start += _failures(pair)
    if pair["verdict"] == NONE:
        return (
            f"{start}this is no comparison: {seeds}, and below {MIN_SEEDS} an arm nothing is known (so far {so_far})."
        )
    if pair["verdict"] == FLAT and ranked(pair):
        return f"{start}no test is possible: in every comparison of two runs both failed."
    if pair["verdict"] == FLAT:
        paired = pair["test"] == "sequential"
        what = "the difference between the arms is the same in every pair" if paired else "all runs of an arm are equal"
        return (
            f"{start}no test is possible: {what} ({seeds}; {so_far}). Without a spread between seeds nothing says how "
            "far another seed would lie; does the seed reach the environment and the policy?"
        )
    if pair["verdict"] == UNDECIDED:
        so_far = "" if ranked(pair) else f": {so_far}"
        return f"{start}undecided{_yet(pair)}{so_far} {_how_sure(pair, alpha, tests)}.{_foreseen(pair)}"
    word = "higher" if pair["verdict"] == HIGHER else "lower"
    by = "" if ranked(pair) else f" by {number(abs(pair['difference']))}"
    return f"{start}{a} is {word} than {b}{by} {_how_sure(pair, alpha, tests)}."


def _seeds(pair: dict) -> str:
    n = pair["n_a"]
    if pair["test"] == "sequential":
        return f"{n} pair{'s' if n != 1 else ''} of seeds"
    return f"{n} against {pair['n_b']} seeds"


def _so_far(pair: dict) -> str:
    a, b, gap = pair["a"], pair["b"], abs(pair["difference"])
    if ranked(pair):
        return f"P(A > B) = {pair['superiority']['p']:.2f}"
    return (
        f"{a} lies {number(gap)} {'above' if pair['difference'] >= 0 else 'below'} {b}"
        if gap
        else f"{a} and {b} are level"
    )


def _yet(pair: dict) -> str:
    return " so far" if pair["test"] == "sequential" else ""


def _how_sure(pair: dict, alpha: float, tests: int) -> str:
    """In brackets: interval and p of the test that decides, P(A > B), and the seeds that it read."""
    test = decisive(pair)
    many = f" after Holm's correction over {tests} tests" if tests > 1 else ""
    p, chance = f"p = {p_value(test['p_holm'], alpha)}{many}", f"P(A > B) = {pair['superiority']['p']:.2f}"
    if ranked(pair) and pair["test"] == "sequential":
        counts = f"a is the better run in {test['higher']} pairs, b in {test['lower']}"
        return f"(always-valid sign test, a failed run below every other: {counts}; {p}; {chance}; {_seeds(pair)})"
    if ranked(pair):
        return f"(exact rank test, a failed run below every other: {chance}; {p}; {_seeds(pair)})"
    low, high = test["ci"]
    kind = "always-valid " if pair["test"] == "sequential" else ""
    interval = (
        f"{100 * test.get('level', 1 - alpha):.3g}% {kind}interval of the difference {number(low)} to {number(high)}"
    )
    return f"({interval}; {p}; {chance}; {_seeds(pair)})"


def _foreseen(pair: dict) -> str:
    """What these seeds could find, and how many would do."""
    if pair["test"] == "sequential":
        return " Another pair of seeds may be added."
    needed = pair["seeds_needed"]
    if not ranked(pair):
        more = f"; one as large as that seen needs {needed} seeds an arm" if needed else ""
        size = number(pair["mde_80"])
        return f" With this spread and these seeds a true difference of {size} is found four times in five{more}."
    least, level = smallest_p(pair["n_a"], pair["n_b"]), 1 - decisive(pair)["level"]
    floor = (
        f" So few seeds cannot decide here: arms that do not overlap at all have p = {number(least)}, where "
        f"{number(level)} is asked for."
        if least >= level
        else ""
    )
    return f"{floor} A true P(A > B) as far from one half needs {needed} seeds an arm." if needed else floor


def _failures(pair: dict) -> str:
    dead = f"{pair['failed_a']} of {pair['n_a']} runs of {pair['a']} and {pair['failed_b']} of {pair['n_b']} of {pair['b']}"
    return f"{dead} failed (p of failing equally often: {number(pair['failures_p'])}); "


def more_seeds(pair: dict, trials: Sequence[Trial]) -> list[str]:
    """The commands that add the seeds which an open pair lacks; none where it is decided or the command is not known."""
    if pair["verdict"] in CLOSED:
        return []
    have = min(pair["n_a"], pair["n_b"])
    planned = (
        0 if pair["test"] == "sequential" else pair["seeds_needed"] or 0
    )  # sequentially: one more, then look again
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
