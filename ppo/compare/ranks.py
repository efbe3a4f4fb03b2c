"""What ranks say of two arms: P(A > B), and the exact test that decides where a run failed.

``a`` and ``b`` are the scores of two arms, [n_a] and [n_b]; a failed run has the score -infinity, so that it ranks below
every run that finished and ties with every other that failed (worst-rank scores, Lachin 1999). That is all that is taken
from a failure: no number is made up for it.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from ppo.compare.power import NAN

EXACT_TO = 200  # runs of both arms; beyond, the normal approximation is as good
NO_INTERVAL = NAN, NAN  # of a difference: a run that failed has a place and no number


def rank_test(a: np.ndarray, b: np.ndarray) -> dict:
    """The exact test of Wilcoxon, Mann and Whitney, ties as they are: u = number of pairs of runs in which a is higher,
    ties half, and two-sided p = share of all ways to deal the n_a + n_b scores to the arms in which the rank sum of a
    lies at least as far from its mean as it does. NaN where all scores are equal or an arm has no run.

    Runs that are exchangeable between the arms, failures among them, give p <= alpha at most alpha of the time, whatever
    their distribution and however few they are.
    """
    n, every = len(a), np.concatenate([a, b])
    if min(n, len(b)) < 1 or np.all(every == every[0]):
        return {"u": NAN, "p": NAN, "ci": NO_INTERVAL}
    ranks = stats.rankdata(every)
    total = float(ranks[:n].sum())
    u = total - n * (n + 1) / 2
    if len(every) > EXACT_TO:
        return {"u": u, "p": float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue), "ci": NO_INTERVAL}
    chances = _rank_sums(n, tuple(sorted(np.rint(2 * ranks).astype(int).tolist())))
    sums, mean = np.arange(len(chances)), n * (len(every) + 1)  # all doubled: a tied rank may be a half
    p = chances[np.abs(sums - mean) >= abs(2 * total - mean)].sum()
    return {"u": u, "p": min(1.0, float(p)), "ci": NO_INTERVAL}


@lru_cache(maxsize=256)
def _rank_sums(n: int, doubled: tuple[int, ...]) -> np.ndarray:
    """[S]: the chance of each sum of ``n`` of these doubled ranks, all choices being equally likely.

    ways[k, s] counts the choices of k that add up to s; every rank is taken or left.
    """
    ways = np.zeros((n + 1, sum(doubled[-n:]) + 1))
    ways[0, 0] = 1.0
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    return ways[n] / ways[n].sum()


def smallest_p(n_a: int, n_b: int) -> float:
    """The p of arms that do not overlap, the smallest that there is: 2 / C(n_a + n_b, n_a)."""
    return 2 / math.comb(n_a + n_b, n_a)


def seeds_needed(superiority: float, *, alpha: float, target: float = 0.8, most: int = 100_000) -> int | None:
    """Seeds in each arm with which the rank test finds a true P(A > B) with probability ``target``: at least
    (z(1 - alpha / 2) + z(target))^2 / (6 (P - 1/2)^2) (Noether 1987), and as many as any p below ``alpha`` takes.

    None where ``most`` would not do.
    """
    if math.isnan(superiority) or superiority == 0.5:
        return None
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(target)
    n = math.ceil(z**2 / (6 * (superiority - 0.5) ** 2))
    least = next(n for n in range(1, 600) if smallest_p(n, n) < max(alpha, 1e-300))
    return max(n, least) if n <= most else None


def failures_p(failed_a: int, n_a: int, failed_b: int, n_b: int) -> float:
    """Two-sided p of the runs of both arms failing equally often: Fisher's exact test of the counts."""
    table = [[failed_a, n_a - failed_a], [failed_b, n_b - failed_b]]
    return float(stats.fisher_exact(table).pvalue)


def superiority(a: np.ndarray, b: np.ndarray, *, level: float = 0.95) -> dict:
    """p = P(A > B) + P(A = B) / 2 over all pairs of runs, U / (n_a n_b) of Mann and Whitney, with Newcombe's interval.

    The interval (Newcombe 2006, method 5) solves |p - theta| = z sqrt(V(theta)) for theta, with
    V = theta (1 - theta) (1 + (N - 1) ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (n_a n_b), N = (n_a + n_b) / 2.
    A bootstrap would say [1, 1] as soon as no run of B reaches one of A.
    """
    n, m = len(a), len(b)
    if min(n, m) < 1:
        return {"p": NAN, "ci": (NAN, NAN)}
    p = float(np.mean(np.greater.outer(a, b) + 0.5 * np.equal.outer(a, b)))
    z, size = stats.norm.ppf((1 + level) / 2), (n + m) / 2

    def distance(theta: float) -> float:
        spread = 1 + (size - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (p - theta) ** 2 - z * z * theta * (1 - theta) * spread / (n * m)

    low = optimize.brentq(distance, 0.0, p) if 0 < p < 1 else _root_inside(distance, p, 0.0) if p == 1 else 0.0
    high = optimize.brentq(distance, p, 1.0) if 0 < p < 1 else _root_inside(distance, p, 1.0) if p == 0 else 1.0
    return {"p": p, "ci": (float(low), float(high))}


def _root_inside(distance: Callable, p: float, end: float) -> float:
    """At p = 0 or 1 the equation has p itself as a root: the other one lies between just inside p and ``end``."""
    return optimize.brentq(distance, p + (end - p) * 1e-9, end)
