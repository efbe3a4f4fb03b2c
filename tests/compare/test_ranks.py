"""The exact rank test against every deal of the scores, and what failed runs do to it."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ppo.compare import ranks
from ppo.compare.sequential import signs

DEAD = -math.inf


def by_enumeration(a: np.ndarray, b: np.ndarray) -> float:
    scores = scipy_stats.rankdata(np.concatenate([a, b]))
    expected = len(a) * (len(scores) + 1) / 2
    deals = [abs(sum(deal) - expected) for deal in itertools.combinations(scores, len(a))]
    return float(np.mean([distance >= deals[0] - 1e-9 for distance in deals]))


def test_p_is_the_share_of_deals_whatever_is_tied():
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = (np.where(rng.random(n) < 0.3, DEAD, rng.integers(0, 6, n)) for n in rng.integers(2, 7, 2))
        if len({*a, *b}) > 1:
            assert ranks.rank_test(a, b)["p"] == pytest.approx(by_enumeration(a, b)), (a, b)


def test_without_ties_it_is_scipys():
    rng = np.random.default_rng(1)
    for n, m in ((5, 5), (8, 13), (20, 20)):
        a, b = rng.normal(0.7, 1, n), rng.normal(0, 1, m)
        known = scipy_stats.mannwhitneyu(a, b, method="exact")
        assert ranks.rank_test(a, b)["p"] == pytest.approx(known.pvalue)
        assert ranks.rank_test(a, b)["u"] == known.statistic


def test_exact_and_normal_meet(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.0, 1, 60), np.where(rng.random(50) < 0.1, DEAD, rng.normal(0, 1, 50))
    exact = ranks.rank_test(a, b)["p"]
    monkeypatch.setattr(ranks, "EXACT_TO", 10)
    assert ranks.rank_test(a, b)["p"] == pytest.approx(exact, rel=0.05)


def test_failed_runs_have_a_place_and_no_number():
    """All of a failed: 2 of the 252 deals are as far apart. Both failed altogether: nothing to tell."""
    dead, alive = np.full(5, DEAD), np.array([3.0, -1e9, 4.0, 1e9, 5.0])
    assert ranks.rank_test(dead, alive)["p"] == pytest.approx(2 / 252) == ranks.smallest_p(5, 5)
    assert ranks.superiority(dead, alive)["p"] == 0.0 and ranks.superiority(dead, dead)["p"] == 0.5
    assert math.isnan(ranks.rank_test(dead, dead)["p"])


def test_noethers_seeds_have_their_power():
    """P(A > B) = 0.75 under a normal shift of 0.954 deviations: 21 seeds an arm."""
    n = ranks.seeds_needed(0.75, alpha=0.05)
    assert n == 21 == ranks.seeds_needed(0.25, alpha=0.05)
    a, b = np.random.default_rng(3).normal(size=(2, 400, n))
    found = [ranks.rank_test(x + 0.953873, y)["p"] < 0.05 for x, y in zip(a, b)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)
    assert ranks.seeds_needed(0.5, alpha=0.05) is None and ranks.seeds_needed(0.5001, alpha=0.05) is None


def test_no_fewer_seeds_are_asked_for_than_ranks_need():
    for alpha in (0.05, 0.01, 1e-4):
        n = ranks.seeds_needed(1.0, alpha=alpha)
        assert ranks.smallest_p(n, n) < alpha


def test_signs_by_hand():
    """Five pairs of six differ, a ahead in all: e = 2^5 / (6 * 1)."""
    row = signs(np.array([1.0, 1, 1, 1, DEAD, 1]), np.array([DEAD, 0, 0, 0, DEAD, 0]))
    assert (row["higher"], row["lower"], row["n"]) == (5, 0, 6)
    assert row["e"] == pytest.approx(32 / 6) and row["p"] == pytest.approx(6 / 32) and row["decided_at"] is None
    eight = signs(np.ones(9), np.full(9, DEAD))
    assert eight["decided_at"] == 8 and signs(np.ones(2), np.zeros(2))["p"] == pytest.approx(3 / 4)


def test_the_evidence_of_signs_is_a_martingale():
    """Under a fair coin its mean over all 2^n sequences is 1 after every pair."""
    for n in (1, 4, 9):
        flips = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
        assert np.mean([signs(a, 1 - a)["e"] for a in flips]) == pytest.approx(1.0)
