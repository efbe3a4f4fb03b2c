"""What the intervals and tests promise, over simulated comparisons of two arms whose truth is known."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ppo.compare import power, sequential, stats
from ppo.compare.sentence import UNDECIDED, decide

ROUNDS, ALPHA = 2_000, 0.05
SLACK = 2 * (ALPHA * (1 - ALPHA) / ROUNDS) ** 0.5  # two standard errors of the simulated rate


def decided(p: list[float], n: int) -> bool:
    """Whether any pair of one comparison, with these p-values, gets a verdict."""
    tests = [{"p": one, "p_holm": corrected} for one, corrected in zip(p, stats.holm(p))]
    rows = [{"n_a": n, "n_b": n, "difference": 1.0, "welch": test} for test in tests]
    return any(decide(row, alpha=ALPHA) != UNDECIDED for row in rows)


def test_equal_arms_are_told_apart_at_most_as_often_as_alpha():
    arms = np.random.default_rng(1).normal(size=(ROUNDS, 2, 5))
    rate = np.mean([decided([stats.welch(a, b)["p"]], 5) for a, b in arms])
    assert rate <= ALPHA + SLACK, rate


@pytest.mark.parametrize("draw", ["uneven", "skewed"])
def test_equal_arms_that_are_not_normal_and_alike(draw):
    """Five seeds an arm, deviations 1 and 3, or both exponential. The t test as ``welch`` calls it, all rounds at once."""
    rng = np.random.default_rng(2)
    size = (2, ROUNDS, 5)
    a, b = rng.exponential(size=size) if draw == "skewed" else rng.normal(size=size) * [[[1.0]], [[3.0]]]
    rate = np.mean([decided([p], 5) for p in scipy_stats.ttest_ind(a, b, axis=-1, equal_var=False).pvalue])
    assert rate <= ALPHA + SLACK, rate


def test_holm_holds_the_rate_over_all_pairs():
    """Four equal arms, three against the first: any verdict at all is a false one, and without Holm there are too many."""
    base, *others = np.random.default_rng(3).normal(size=(4, ROUNDS, 6))
    p = np.stack([scipy_stats.ttest_ind(arm, base, axis=-1, equal_var=False).pvalue for arm in others], axis=-1)
    assert np.mean((p < ALPHA).any(-1)) > ALPHA + SLACK
    rate = np.mean([decided(list(row), 6) for row in p])
    assert rate <= ALPHA + SLACK, rate


def test_power_is_what_was_computed():
    rng = np.random.default_rng(3)
    effect = power.detectable(1.0, 2.0, 8, 10)
    found = [
        stats.welch(a, b)["p"] < ALPHA
        for a, b in zip(rng.normal(effect, 1.0, (ROUNDS, 8)), rng.normal(0.0, 2.0, (ROUNDS, 10)))
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


def test_the_interval_of_the_difference_covers():
    rng = np.random.default_rng(4)
    pairs = zip(rng.normal(3.0, 1.0, (ROUNDS, 5)), rng.normal(1.0, 2.5, (ROUNDS, 7)))
    covered = np.mean([low < 2.0 < high for low, high in (stats.welch(a, b)["ci"] for a, b in pairs)])
    assert covered == pytest.approx(0.95, abs=0.012)


def test_the_interval_of_superiority_covers():
    """A ~ N(1, 1), B ~ N(0, 1): P(A > B) = Phi(1 / sqrt 2) = 0.760."""
    rng = np.random.default_rng(5)
    pairs = zip(rng.normal(1.0, 1.0, (ROUNDS, 6)), rng.normal(0.0, 1.0, (ROUNDS, 6)))
    covered = np.mean([low < 0.760250 < high for low, high in (stats.superiority(a, b)["ci"] for a, b in pairs)])
    assert 0.93 < covered < 0.99, covered


def test_the_bootstrap_interval_is_a_little_narrow():
    """What docs/comparing.md says of it: 92 % instead of 95 at ten seeds an arm."""
    rng = np.random.default_rng(6)
    intervals = [stats.bootstrap(stats.difference, a, b, resamples=800) for a, b in rng.normal(size=(500, 2, 10))]
    covered = np.mean([low < 0 < high for low, high in intervals])
    assert 0.89 < covered < 0.96, covered


def test_peeking_after_every_pair_stays_under_alpha():
    d = np.random.default_rng(7).normal(scale=100.0, size=(ROUNDS, 200))
    rate = np.mean((sequential.p_values(d) <= ALPHA).any(-1))
    assert rate <= ALPHA, rate


def test_peeking_at_an_ordinary_test_does_not():
    """Why there is a sequential mode: the t test of the same sequences, looked at after each pair from the fifth on."""
    d = np.random.default_rng(7).normal(size=(ROUNDS, 200))
    n = np.arange(5, 201)
    mean = np.cumsum(d, -1)[:, 4:] / n
    variance = (np.cumsum(d**2, -1)[:, 4:] - n * mean**2) / (n - 1)
    t = abs(mean) / np.sqrt(variance / n)
    assert np.mean((t > scipy_stats.t.ppf(1 - ALPHA / 2, n - 1)).any(-1)) > 0.3


def test_the_confidence_sequence_covers_at_all_times_at_once():
    d = np.random.default_rng(8).normal(0.7, 3.0, size=(ROUNDS, 100))
    low, high = sequential.confidence_sequence(d)
    assert np.mean(((low < 0.7) & (high > 0.7)).all(-1)) >= 1 - ALPHA


def test_an_effect_is_found_and_soon():
    """A true effect of one and a half deviations: found within 20 pairs nearly always, with eight in the median."""
    d = np.random.default_rng(9).normal(1.5, 1.0, size=(ROUNDS, 20))
    crossed = sequential.p_values(d) <= ALPHA
    assert np.mean(crossed.any(-1)) > 0.98
    assert np.median(np.where(crossed.any(-1), crossed.argmax(-1) + 1, 21)) <= 8
