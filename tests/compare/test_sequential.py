"""The always-valid test by hand, and what it is invariant to."""

import math

import numpy as np
import pytest
from scipy import integrate

from ppo.compare.sequential import confidence_sequence, evidence, p_values, sequential

D = np.array([1.0, 2.0, 0.5, 1.5, -0.25])


def test_evidence_by_hand():
    """d = 1, 2: S0 = 5, sum 3, growth 3, S1 = 5 - 9/3 = 2: e = 3^-0.5 * 5/2. The first difference says nothing."""
    assert evidence(D)[:2] == pytest.approx([1.0, 2.5 / math.sqrt(3)])


def test_evidence_is_the_ratio_of_the_integrated_likelihoods():
    """Both integrals of its definition done numerically: over sigma (1 / sigma), and over the effect N(0, 0.7^2)."""

    def likelihood(sigma: float, effect: float) -> float:
        return math.exp(-np.sum((D - effect * sigma) ** 2) / (2 * sigma**2)) / sigma ** (len(D) + 1)

    def prior(effect: float) -> float:
        return math.exp(-(effect**2) / (2 * 0.49)) / math.sqrt(2 * math.pi * 0.49)

    null = integrate.quad(likelihood, 0.01, 200, args=(0.0,), points=(0.5, 1.0, 3.0), limit=200)[0]
    other = integrate.dblquad(lambda e, s: likelihood(s, e) * prior(e), 0.05, 40, -6, 6, epsabs=1e-7)[0]
    assert evidence(D, scale=0.7)[-1] == pytest.approx(other / null, rel=1e-3)


def test_unit_and_sign_do_not_matter():
    assert evidence(1000 * D) == pytest.approx(evidence(D)) and evidence(-D) == pytest.approx(evidence(D))


def test_the_interval_leaves_out_zero_exactly_where_p_is_below_alpha():
    """At every moment, also where a difference that was clear is gone again."""
    d = np.random.default_rng(0).normal(size=(200, 40)) + np.linspace(2, -2, 40)
    p, (low, high) = p_values(d), confidence_sequence(d)
    assert ((p < 0.05) == ((low > 0) | (high < 0))).all() and (p < 0.05).any() and (np.diff(p) > 0).any()
    means = np.cumsum(d, -1) / np.arange(1, 41)
    assert ((low <= means) & (means <= high)).all()


def test_a_spread_far_below_the_mean_keeps_its_digits():
    d = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    far = sequential(1e9 + 1e-3 * d)
    assert far["ci"][1] - far["ci"][0] == pytest.approx(1e-3 * np.ptp(sequential(d)["ci"]), rel=1e-3)


def test_the_sequence_holds_exactly_the_means_that_are_not_rejected():
    low, high = (x[-1] for x in confidence_sequence(D, alpha=0.2))
    assert math.isfinite(low) and low < D.mean() < high
    for end in (low, high):
        assert evidence(D - end)[-1] == pytest.approx(5.0)


def test_it_begins_with_everything():
    low, high = confidence_sequence(D)
    assert low[0] == -math.inf and high[0] == math.inf


def test_equal_differences_and_none_at_all():
    assert sequential(np.zeros(6))["p"] == 1.0
    same = sequential(np.full(6, 2.0))
    assert same["p"] < 0.05 and same["ci"] == (2.0, 2.0) and same["decided_at"] <= 6
