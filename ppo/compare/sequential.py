"""A comparison that may be looked at after every pair of seeds, and stopped when it has an answer.

An ordinary p-value that is looked at again and again falls below 5 % sooner or later, whatever is true. The evidence here
is a mixture likelihood ratio of the paired differences d_1 ... d_n ~ N(mu, sigma^2): the alternative's effect mu / sigma
is averaged over N(0, scale^2), the unknown sigma of both hypotheses over its right-Haar prior 1 / sigma. What is left
depends on ratios of the differences only, and is a martingale under mu = 0 whatever sigma is, so that (Ville) it ever
exceeds 1 / alpha with probability at most alpha. So 1 / evidence is a p-value, and the means whose evidence is below
1 / alpha are an interval, at whatever moment one looks; both are read at the same moment, after the last pair.
Wang & Ramdas 2023, Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance; the same
ratio as the Bayesian t-test with a normal prior on the effect.

Valid for differences that are independent and roughly normal.
"""

import math

import numpy as np


def evidence(d: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    """[..., n] differences -> [..., n]: the evidence against mu = 0 after each.

    e_n = (1 + n scale^2)^(-1/2) (S0 / S1)^(n / 2), S0 = sum d^2, S1 = S0 - scale^2 (sum d)^2 / (1 + n scale^2).
    e_1 is 1: one difference says nothing about its own scale. ``scale``: the effects expected, in deviations of d.
    """
    n, mean, q = _moments(d)
    growth = 1 + n * scale**2
    squares, left = q + n * mean**2, q + n * mean**2 / growth
    ratio = np.divide(squares, left, out=np.ones_like(squares), where=left > 0)  # all differences 0: no evidence
    return np.exp(np.minimum(0.5 * (n * np.log(ratio) - np.log(growth)), 700.0))  # beyond it is as good as certain


def p_values(d: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    """[..., n] -> [..., n]: the p after each difference, 1 over the evidence there, at most 1. Valid at whatever moment
    one stops; a later one may be larger again."""
    return np.minimum(1.0, 1.0 / evidence(d, scale=scale))


def confidence_sequence(d: np.ndarray, *, alpha: float = 0.05, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [..., n]: with probability 1 - alpha the true mean lies within all of them at once.

    mu is inside while the evidence of d - mu is below 1 / alpha, that is for
    n (mean(d) - mu)^2 < (R - 1) Q / (1 - R / (1 + n scale^2)), R = (sqrt(1 + n scale^2) / alpha)^(2 / n),
    Q = sum (d - mean(d))^2; everything is inside while R >= 1 + n scale^2. So 0 is outside exactly where p < alpha.
    """
    n, mean, q = _moments(d)
    growth = 1 + n * scale**2
    limit = (np.sqrt(growth) / alpha) ** (2 / n)
    room = 1 - limit / growth
    half = np.full(d.shape, math.inf)
    np.sqrt(np.divide((limit - 1) * q, n * room, out=half, where=room > 0), out=half, where=room > 0)
    return mean - half, mean + half


def _moments(d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n [n], and of the first 1 ... n differences mean and sum of squares around it, [..., n]."""
    n = np.arange(1, d.shape[-1] + 1)
    centre = d.mean(axis=-1, keepdims=True)  # subtracted before squaring: a spread far below the mean keeps its digits
    rest = d - centre
    mean = np.cumsum(rest, axis=-1) / n
    q = np.maximum(np.cumsum(rest**2, axis=-1) - n * mean**2, 0.0)
    return n, mean + centre, q


def sign_evidence(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(evidence, pairs in which a is the higher, pairs in which b is), each [n], after each pair of the scores [n].

    Of m pairs that differ, a being higher in k: e = 2^m / ((m + 1) C(m, k)), the fair coin against every other one alike
    (a uniform prior). It is a martingale where either run of a pair is as likely to be the higher.
    """
    k, m = np.cumsum(a > b), np.cumsum(a != b)
    logs = [n * math.log(2) - math.log((n + 1) * math.comb(n, i)) for n, i in zip(m.tolist(), k.tolist())]
    return np.exp(np.minimum(logs, 700.0)), k, m - k


def signs(a: np.ndarray, b: np.ndarray, *, alpha: float = 0.05) -> dict:
    """As ``sequential``, of which score of each pair is the higher and nothing else: where runs failed (-infinity), so that
    a difference has no size. Pairs of equal scores say nothing; there is no interval."""
    e, higher, lower = sign_evidence(a, b)
    crossed = np.flatnonzero(e >= 1 / alpha)
    return {
        "n": len(a),
        "higher": int(higher[-1]),
        "lower": int(lower[-1]),
        "e": float(e[-1]),
        "p": float(min(1.0, 1.0 / e[-1])),
        "ci": (math.nan, math.nan),
        "decided_at": int(crossed[0]) + 1 if len(crossed) else None,
    }


def sequential(d: np.ndarray, *, alpha: float = 0.05, scale: float = 1.0) -> dict:
    """Of all the differences [n]: n, their mean, e, p and ci; ``decided_at``, the first n at which p was below alpha."""
    e = evidence(d, scale=scale)
    low, high = confidence_sequence(d, alpha=alpha, scale=scale)
    crossed = np.flatnonzero(p_values(d, scale=scale) <= alpha)
    return {
        "n": len(d),
        "difference": float(np.mean(d)),
        "e": float(e[-1]),
        "p": float(min(1.0, 1.0 / e[-1])),
        "ci": (float(low[-1]), float(high[-1])),
        "decided_at": int(crossed[0]) + 1 if len(crossed) else None,
    }
