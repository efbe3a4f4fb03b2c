"""A comparison that may be looked at after every pair of seeds, and stopped when it has an answer.

An ordinary p-value that is looked at again and again falls below 5 % sooner or later, whatever is true. The evidence here
is a mixture likelihood ratio of the paired differences d_1 ... d_n ~ N(mu, sigma^2): the alternative's effect mu / sigma
is averaged over N(0, scale^2), the unknown sigma of both hypotheses over its right-Haar prior 1 / sigma. What is left
depends on ratios of the differences only, and is a martingale under mu = 0 whatever sigma is, so that (Ville) it ever
exceeds 1 / alpha with probability at most alpha. Wang & Ramdas 2023, Anytime-valid t-tests and confidence sequences for
Gaussian means with unknown variance; the same ratio as the Bayesian t-test with a normal prior on the effect.

Valid for differences that are independent and roughly normal. Order: the seeds', ascending.
"""

import math

import numpy as np


def evidence(d: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    """[..., n] differences -> [..., n]: the evidence against mu = 0 after each.

    e_n = (1 + n scale^2)^(-1/2) (S0 / S1)^(n / 2), S0 = sum d^2, S1 = S0 - scale^2 (sum d)^2 / (1 + n scale^2).
    e_1 is 1: one difference says nothing about its own scale. ``scale``: the effects expected, in deviations of d.
    """
    n = np.arange(1, d.shape[-1] + 1)
    squares, total = np.cumsum(d**2, axis=-1), np.cumsum(d, axis=-1)
    growth = 1 + n * scale**2
    left = squares - scale**2 * total**2 / growth
    ratio = np.divide(squares, left, out=np.ones_like(squares), where=left > 0)  # all differences 0: no evidence
    return np.exp(np.minimum(0.5 * (n * np.log(ratio) - np.log(growth)), 700.0))  # beyond it is as good as certain


def p_values(d: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    """[..., n] -> [..., n]: always-valid p after each difference, 1 over the largest evidence so far, at most 1."""
    return np.minimum(1.0, 1.0 / np.maximum.accumulate(evidence(d, scale=scale), axis=-1))


def confidence_sequence(
    d: np.ndarray, *, alpha: float = 0.05, scale: float = 1.0, running: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends [..., n]: with probability 1 - alpha the true mean lies within all of them at once.

    mu is inside while the evidence of d - mu is below 1 / alpha, that is for
    n (mean(d) - mu)^2 < (R - 1) Q / (1 - R / (1 + n scale^2)), R = (sqrt(1 + n scale^2) / alpha)^(2 / n),
    Q = sum (d - mean(d))^2; everything is inside while R >= 1 + n scale^2. ``running``: intersect with what came before.
    """
    n = np.arange(1, d.shape[-1] + 1)
    mean = np.cumsum(d, axis=-1) / n
    q = np.maximum(np.cumsum(d**2, axis=-1) - n * mean**2, 0.0)
    growth = 1 + n * scale**2
    limit = (np.sqrt(growth) / alpha) ** (2 / n)
    room = 1 - limit / growth
    half = np.full(d.shape, math.inf)
    np.sqrt(np.divide((limit - 1) * q, n * room, out=half, where=room > 0), out=half, where=room > 0)
    low, high = mean - half, mean + half
    if running:
        low, high = np.maximum.accumulate(low, axis=-1), np.minimum.accumulate(high, axis=-1)
    return low, high


def sequential(d: np.ndarray, *, alpha: float = 0.05, scale: float = 1.0) -> dict:
    """After the last of the differences [n]: n, their mean, e, p, ci, and ``decided_at``, the first n with p <= alpha."""
    p = p_values(d, scale=scale)
    low, high = confidence_sequence(d, alpha=alpha, scale=scale)
    crossed = np.flatnonzero(p <= alpha)
    return {
        "n": len(d),
        "difference": float(np.mean(d)),
        "e": float(evidence(d, scale=scale)[-1]),
        "p": float(p[-1]),
        "ci": (float(low[-1]), float(high[-1])),
        "decided_at": int(crossed[0]) + 1 if len(crossed) else None,
    }
