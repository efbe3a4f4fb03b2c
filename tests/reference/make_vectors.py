"""Makes vectors.json, the numbers that formulas are held against: ``python tests/reference/make_vectors.py``.

Nothing here imports the project. Rational numbers are computed exactly, as definitions have them (an advantage is a sum,
not a recursion); statistics are SciPy's.
"""

import json
import re
import statistics
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

FILE = Path(__file__).with_name("vectors.json")
E = Fraction  # E("0.9") is nine tenths, not the float next to it

REWARD, VALUE = (1, 0, -1, 2, 1), ("0.5", 1, "-0.5", "1.5", 2)


def gae(terminated=(), truncated=(), final_value=0, last_value=3, gamma="0.9", lam="0.8", leak=False) -> dict[str, Any]:
    """A_t = sum over k of (gamma lam)^k delta_{t+k}, up to the end of the episode; delta bootstraps V of the successor.

    terminated, truncated: the steps at which an episode ends so. final_value: V of the last observation of one that was
    truncated. last_value: V of what follows the last step. leak: the sum runs on, which is a mistake.
    """
    reward, value, steps = [E(x) for x in REWARD], [E(x) for x in VALUE], len(REWARD)
    following = [*value[1:], E(last_value)]
    for t in truncated:
        following[t] = E(final_value)
    delta = [r + E(gamma) * (0 if t in terminated else v) - now for t, (r, v, now) in
             enumerate(zip(reward, following, value))]  # fmt: skip
    ends = {*terminated, *truncated, steps - 1}
    advantage = []
    for t in range(steps):
        last = steps - 1 if leak else min(end for end in ends if end >= t)
        advantage.append(sum((E(gamma) * E(lam)) ** (k - t) * delta[k] for k in range(t, last + 1)))
    return {
        "reward": [float(x) for x in reward],
        "value": [float(x) for x in value],
        "terminated": [int(t in terminated) for t in range(steps)],
        "truncated": [int(t in truncated) for t in range(steps)],
        "final_value": [float(E(final_value)) if t in truncated else 0.0 for t in range(steps)],
        "last_value": float(last_value),
        "gamma": float(E(gamma)),
        "lam": float(E(lam)),
        "advantage": [float(x) for x in advantage],
        "returns": [float(a + v) for a, v in zip(advantage, value)],
    }


def advantages() -> dict[str, Any]:
    cut = {"truncated": (2,), "final_value": 4}
    cases = {
        "none": gae(),
        "terminated_at_2": gae(terminated=(2,)),
        "truncated_at_2_Vfinal4": gae(**cut),
        "both_at_2_terminal_wins": gae(terminated=(2,), **cut),
        "truncated_last_Vfinal5_ignore_reset_value99": gae(truncated=(4,), final_value=5, last_value=99),
        "terminated_last": gae(terminated=(4,), last_value=99),
        "lam0": gae(terminated=(2,), lam=0),
        "lam1": gae(terminated=(2,), lam=1),
        "gamma1_lam1": gae(gamma=1, lam=1),
    }
    wrong = {
        "truncation taken for termination": gae(terminated=(2,)),
        "bootstrapped with V(s_t)": gae(truncated=(2,), final_value=VALUE[2]),
        "bootstrapped with V of the reset observation": gae(truncated=(2,), final_value=VALUE[3]),
        "the trace leaks across truncation": gae(**cut, leak=True),
    }
    return {"gae": cases, "gae_mistakes": {name: case["advantage"] for name, case in wrong.items()}}


def normalised() -> dict[str, Any]:
    x, groups = [1.0, 2.0, 3.0, 4.0, 10.0], {0: [1.0, 3.0], 1: [10.0, 30.0, 50.0], 2: [5.0]}
    median, (low, high) = statistics.median(x), np.quantile(x, [0.25, 0.75])
    scale = float(np.subtract(*np.quantile(x, [0.95, 0.05])))
    return {
        "x": x,
        "standardised": standardised(x),
        "robust": [(a - median) / ((high - low) / (2 * stats.norm.ppf(0.75))) for a in x],
        "over_p5_to_p95": [a / scale for a in x],
        "groups": {
            "x": [a for members in groups.values() for a in members],
            "group": [i for i, members in groups.items() for _ in members],
            "standardised": [a for members in groups.values() for a in standardised(members)],
        },
    }


def standardised(x: list[float]) -> list[float]:
    """By the sample's standard deviation; a set of one comes out as 0."""
    return [(a - statistics.mean(x)) / statistics.stdev(x) for a in x] if len(x) > 1 else [0.0]


def objectives() -> dict[str, list[dict]]:
    """Values and derivatives with respect to the ratio r, null at a kink; A the advantage."""

    def case(r, a, **numbers):
        return {"r": float(r), "A": float(a)} | {name: x if x is None else float(x) for name, x in numbers.items()}

    eps, alpha, ppo, spo, truly = E("0.2"), E("0.3"), [], [], []
    for r, a in ((E(r), a) for r in ("0.7", "0.8", "1.0", "1.2", "1.3") for a in (1, -1)):
        kept = min(max(r, 1 - eps), 1 + eps)
        free = r * a <= kept * a
        edge = r in (1 - eps, 1 + eps)
        ppo.append(case(r, a, eps=eps, obj=min(r * a, kept * a), grad=None if edge else a if free else 0))
        parabola = r * a - abs(a) * (r - 1) ** 2 / (2 * eps)
        spo.append(case(r, a, eps=eps, obj=parabola, grad=a - abs(a) * (r - 1) / eps))
        beyond = kept - alpha * (r - kept)
        slope = None if edge else a if r * a <= beyond * a else -alpha * a
        truly.append(case(r, a, eps=eps, alpha=alpha, obj=min(r * a, beyond * a), grad=slope))
    return {"ppo": ppo, "spo": spo, "truly": truly}


def adaptive() -> dict[str, list[dict]]:
    """A learning rate between 1e-5 and 1e-2, by 1.5 where the KL is beyond twice or half of the target; a weight by 2,
    beyond 1.5 times."""
    target, rate, beta, rates, betas = 0.01, 1e-3, 1.0, [], []
    for kl in (0.021, 0.0199, 0.0051, 0.0049, 0.0, 0.03):
        after = rate / 1.5 if kl > 2 * target else rate * 1.5 if 0 < kl < target / 2 else rate
        rates.append({"kl": kl, "target": target, "before": rate, "after": after})
        rate = after
    for kl in (0.016, 0.0149, 0.006, 0.0067, 0.02, 0.02):
        after = beta * 2 if kl > 1.5 * target else beta / 2 if kl < target / 1.5 else beta
        betas.append({"kl": kl, "target": target, "before": beta, "after": after})
        beta = after
    return {"adaptive_lr": rates, "adaptive_beta": betas}


def comparisons() -> dict[str, Any]:
    x, y = [3.0, 1.0, 4.0, 1.0, 5.0], [2.0, 7.0, 1.0, 8.0, 2.0]
    welch, paired = stats.ttest_ind(x, y, equal_var=False), stats.ttest_rel(x, y)
    interval = welch.confidence_interval(0.95)
    wins = [(a > b) + 0.5 * (a == b) for a in x for b in y]
    samples = ([*range(1, 11)], [2, 4, 6, 8, 10], [1, 2, 9])
    return {
        "x": x,
        "y": y,
        "mean_diff": statistics.mean(x) - statistics.mean(y),
        "welch_t": float(welch.statistic),
        "df": float(welch.df),
        "p": float(welch.pvalue),
        "ci95": [float(interval.low), float(interval.high)],
        "P_x_gt_y": statistics.mean(wins),
        "paired_t": float(paired.statistic),
        "paired_p": float(paired.pvalue),
        "iqm": [{"x": sample, "mean": float(stats.trim_mean(sample, 0.25))} for sample in samples],
    }


def made() -> dict[str, Any]:
    """All of the file."""
    return {
        **advantages(),
        "advantage_norm": normalised(),
        "objective": objectives(),
        **adaptive(),
        "stats": comparisons(),
    }


def text(tree: Any) -> str:
    """As JSON, with what holds no other list or dictionary on a line of its own."""
    pretty = json.dumps(tree, indent=1)
    innermost = re.compile(r"([\[{])\s*([^\[\]{}]*?)\s*([\]}])")
    return innermost.sub(lambda found: found[1] + " ".join(found[2].split()) + found[3], pretty) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(made()))
