"""The statistics of a comparison: pure functions of numbers, one number a seed.

``a`` and ``b`` are the values of two arms, [n_a] and [n_b], in the unit of the endpoint (return). What cannot be computed
(one seed, no spread) is NaN, never an exception. Everything random takes its generator from ``seed``: the same runs give
the same report.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from ppo.compare import ranks
from ppo.compare.power import NAN, detectable, seeds_needed, standard_error

MIN_SEEDS = 5  # below this many seeds in an arm there is no comparison
Interval = tuple[float, float]


def summary(x: np.ndarray, *, level: float = 0.95, seed: int = 0) -> dict:
    """n, mean, std (n - 1), se = std / sqrt(n), median, iqm with its bootstrap interval, min, max of one arm."""
    std = float(np.std(x, ddof=1)) if len(x) > 1 else NAN
    return {
        "n": len(x),
        "mean": float(np.mean(x)),
        "std": std,
        "se": std / math.sqrt(len(x)),
        "median": float(np.median(x)),
        "iqm": iqm(x),
        "iqm_ci": bootstrap(iqm, x, level=level, seed=seed),
        "min": float(np.min(x)),
        "max": float(np.max(x)),
    }


def iqm(x: np.ndarray, axis: int = -1) -> np.ndarray | float:
    """Interquartile mean: the mean without the lowest and the highest floor(n / 4) values.

    Robust like the median, with less variance (Agarwal et al. 2021, Deep RL at the edge of the statistical precipice).
    Below four values nothing is cut and it is the mean.
    """
    cut = stats.trim_mean(x, 0.25, axis=axis)
    return float(cut) if np.ndim(cut) == 0 else cut


def bootstrap(
    statistic: Callable, *strata: np.ndarray, level: float = 0.95, resamples: int = 5_000, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of ``statistic(*strata, axis=-1)``; each stratum is resampled within itself.

    One stratum: an arm's seeds. Two: the arms of a pair. It is somewhat narrow for few seeds; Welch decides.
    """
    if any(len(x) < 2 for x in strata):
        return NAN, NAN
    result = stats.bootstrap(
        strata,
        statistic,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    """mean(a) - mean(b)."""
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def flat(x: np.ndarray) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.max(np.abs(x)))


def welch(a: np.ndarray, b: np.ndarray, *, level: float = 0.95) -> dict:
    """Welch's t test of equal means, variances not assumed equal: t, df (Welch-Satterthwaite), two-sided p, interval.

    t = d / se, se^2 = var_a / n_a + var_b / n_b; the interval is that of d = mean(a) - mean(b). NaN where no arm has a
    spread beyond rounding.
    """
    if min(len(a), len(b)) < 2 or (flat(a) and flat(b)):
        return _t_test(NAN, NAN, NAN, level)
    se, df = standard_error(float(np.std(a, ddof=1)), float(np.std(b, ddof=1)), len(a), len(b))
    return _t_test(float(difference(a, b)), se, df, level)


def paired(a: np.ndarray, b: np.ndarray, *, level: float = 0.95) -> dict:
    """Paired t test: ``a[i]`` and ``b[i]`` share a seed. t, df = n - 1, two-sided p, interval of the mean difference."""
    if len(a) < 2 or flat(a - b):
        return _t_test(NAN, NAN, NAN, level)
    d = a - b
    return _t_test(float(np.mean(d)), float(np.std(d, ddof=1)) / math.sqrt(len(d)), len(d) - 1.0, level)


def _t_test(d: float, se: float, df: float, level: float) -> dict:
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    return {"t": d / se, "df": df, "p": float(2 * stats.t.sf(abs(d) / se, df)), "ci": (d - half, d + half)}


def permutation(a: np.ndarray, b: np.ndarray, *, resamples: int = 20_000, seed: int = 0) -> float:
    """Two-sided p of the difference of means when labels are shuffled; exact where there are few enough shuffles."""
    if min(len(a), len(b)) < 2:
        return NAN
    rng = np.random.default_rng(seed)
    return float(stats.permutation_test((a, b), difference, vectorized=True, n_resamples=resamples, rng=rng).pvalue)


def hedges_g(a: np.ndarray, b: np.ndarray) -> float:
    """(mean(a) - mean(b)) / pooled std, times 1 - 3 / (4 (n_a + n_b) - 9) against its bias (Hedges 1981)."""
    n, m = len(a), len(b)
    if min(n, m) < 2:
        return NAN
    pooled = math.sqrt(((n - 1) * np.var(a, ddof=1) + (m - 1) * np.var(b, ddof=1)) / (n + m - 2))
    return (1 - 3 / (4 * (n + m) - 9)) * float(difference(a, b)) / pooled if pooled else NAN


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m times (m - i + 1), made monotone, at most 1 (Holm 1979).

    NaN is no test: it stays NaN and does not count in m.
    """
    values = np.asarray(p, dtype=float)
    order = [i for i in np.argsort(values) if not math.isnan(values[i])]
    adjusted, largest = np.full(len(values), NAN), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted.tolist()


def holm_levels(p: Sequence[float], *, alpha: float) -> list[float]:
    """At which level Holm's procedure tests each p: alpha / m for the smallest of m, alpha / (m - 1) for the next ..., and
    from the first that it does not reject on the level of that one. So ``holm`` of a p is below alpha exactly where p is
    below its level here, and an interval of confidence 1 - level then lies on one side of 0. NaN is no test.
    """
    levels, stopped = [NAN] * len(p), None
    order = [i for i in np.argsort(np.asarray(p, dtype=float)) if not math.isnan(p[i])]
    for rank, i in enumerate(order):
        levels[i] = stopped or alpha / (len(order) - rank)
        if stopped is None and not p[i] < levels[i]:
            stopped = levels[i]
    return levels


Ranked = tuple[np.ndarray, np.ndarray] | None  # the scores of both arms where a run of them failed


def pair(
    a: np.ndarray, b: np.ndarray, *, same_seeds: bool, ranked: Ranked = None, alpha: float = 0.05, seed: int = 0
) -> dict:
    """Everything about one pair but what needs its neighbours (Holm) and words.

    ``test`` names the test that decides: Welch's of the means, or where a run failed (``ranked``) that of the ranks.
    """
    level = 1 - alpha
    return {
        "n_a": len(a),
        "n_b": len(b),
        "difference": float(difference(a, b)),
        "test": "rank" if ranked else "welch",
        "welch": welch(a, b, level=level),
        "rank": ranks.rank_test(*(ranked or (a, b))),
        "bootstrap_ci": bootstrap(difference, a, b, level=level, seed=seed),
        "permutation_p": permutation(a, b, seed=seed),
        "paired": paired(a, b, level=level) if same_seeds else None,
        "hedges_g": hedges_g(a, b),
        "superiority": ranks.superiority(*(ranked or (a, b)), level=level),
        **foresight(a, b, ranked=ranked, alpha=alpha),
    }


def foresight(a: np.ndarray, b: np.ndarray, *, alpha: float, ranked: Ranked = None) -> dict:
    """What the test that decides would find at level ``alpha`` with this spread, and how many seeds the difference seen
    would need. Of ranks there is no difference in the unit of the return to be found: NaN."""
    if ranked:
        return {"mde_80": NAN, "seeds_needed": ranks.seeds_needed(ranks.superiority(*ranked)["p"], alpha=alpha)}
    stds = [float(np.std(x, ddof=1)) if len(x) > 1 else NAN for x in (a, b)]
    return {
        "mde_80": detectable(*stds, len(a), len(b), alpha=alpha),
        "seeds_needed": seeds_needed(float(difference(a, b)), *stds, alpha=alpha),
    }


def untested(a: np.ndarray, b: np.ndarray) -> dict:
    """As ``pair``, of two arms that are the same run: what they are worth, and no test."""
    none = NAN, NAN
    return {
        "n_a": len(a),
        "n_b": len(b),
        "difference": float(difference(a, b)),
        "test": "welch",
        "welch": _t_test(NAN, NAN, NAN, 0.95),
        "rank": {"u": NAN, "p": NAN, "ci": none},
        "bootstrap_ci": none,
        "permutation_p": NAN,
        "paired": None,
        "hedges_g": NAN,
        "superiority": {"p": NAN, "ci": none},
        "mde_80": NAN,
        "seeds_needed": None,
    }
