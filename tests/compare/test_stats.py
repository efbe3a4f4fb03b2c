"""The statistics against numbers computed elsewhere, and against what they promise."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ppo.compare import power, ranks, stats


@pytest.fixture
def xy(vectors) -> tuple[np.ndarray, np.ndarray]:
    return np.array(vectors["stats"]["x"]), np.array(vectors["stats"]["y"])


def test_welch_and_paired_are_the_reference_values(xy, vectors):
    known = vectors["stats"]
    row = stats.pair(*xy, same_seeds=True)
    assert row["difference"] == pytest.approx(known["mean_diff"], rel=1e-12)
    welch, paired = row["welch"], row["paired"]
    assert (welch["t"], welch["df"], welch["p"]) == pytest.approx((known["welch_t"], known["df"], known["p"]), rel=1e-9)
    assert welch["ci"] == pytest.approx(known["ci95"], rel=1e-9)
    assert (paired["t"], paired["p"]) == pytest.approx((known["paired_t"], known["paired_p"]), rel=1e-9)
    assert row["superiority"]["p"] == pytest.approx(known["P_x_gt_y"])


def test_the_interquartile_mean_is_the_reference_value(vectors):
    for known in vectors["stats"]["iqm"]:  # of three runs it is the mean
        assert stats.iqm(np.array(known["x"], dtype=float)) == known["mean"]


def test_summary_by_hand():
    row = stats.summary(np.array([1.0, 2, 3, 10]))
    assert (row["n"], row["mean"], row["median"], row["iqm"], row["min"], row["max"]) == (4, 4.0, 2.5, 2.5, 1.0, 10.0)
    assert row["std"] == pytest.approx(math.sqrt(50 / 3)) and row["se"] == pytest.approx(math.sqrt(50 / 12))
    assert 1.0 <= row["iqm_ci"][0] < 2.5 < row["iqm_ci"][1] <= 10.0


def test_hedges_g_by_hand():
    """Means 2 and 5, both variances 1, so d = -3; the correction for 3 + 3 is 1 - 3 / 15."""
    assert stats.hedges_g(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(-2.4)


def test_the_permutation_test_counts_every_shuffle():
    """Of the 20 ways to choose three of six, only the observed one and its mirror are as far apart."""
    assert stats.permutation(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(2 / 20)


def test_holm_by_hand():
    """Sorted .005 .01 .03 .04 times 4 3 2 1, then monotone; a test that could not be made counts for nothing."""
    adjusted = stats.holm([0.01, 0.04, math.nan, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, math.nan, 0.06, 0.02], nan_ok=True)
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0] and stats.holm([]) == []


def test_ties_are_half_a_win():
    assert ranks.superiority(np.array([1.0, 2]), np.array([1.0, 2]))["p"] == 0.5


def test_superiority_of_separated_arms_is_not_certain():
    low, high = ranks.superiority(np.arange(5.0) + 10, np.arange(5.0))["ci"]
    assert 0.5 < low < 0.75 and high == 1.0
    mirrored = ranks.superiority(np.arange(5.0), np.arange(5.0) + 10)["ci"]
    assert mirrored == pytest.approx((0.0, 1 - low))


def test_superiority_interval_solves_its_equation():
    """The ends of the interval satisfy |p - theta| = z sqrt(V(theta)); here for 0.36 of 5 x 5."""
    a, b = np.array([3.0, 1, 4, 1.5, 5]), np.array([2.0, 7, 3.5, 8, 2.5])
    p, ends = ranks.superiority(a, b)["p"], ranks.superiority(a, b)["ci"]
    for theta in ends:
        v = theta * (1 - theta) * (1 + 4 * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / 25
        assert abs(p - theta) == pytest.approx(1.959964 * math.sqrt(v), rel=1e-5)


def test_power_is_the_textbook_value():
    """Cohen's tables: d = 0.5 needs 64 an arm, d = 0.8 needs 26, d = 1 needs 17, at 5 % and 80 %."""
    assert [power.seeds_needed(d, 1.0, 1.0) for d in (0.5, 0.8, 1.0)] == [64, 26, 17]
    assert power.power(0.5, 1.0, 1.0, 64, 64) == pytest.approx(0.8015, abs=1e-4)
    assert power.power(0.0, 1.0, 2.0, 6, 9) == pytest.approx(0.05, abs=1e-9)


def test_the_detectable_effect_has_the_power_it_is_named_for():
    effect = power.detectable(2.0, 3.0, 8, 6)
    assert power.power(effect, 2.0, 3.0, 8, 6) == pytest.approx(0.8, abs=1e-6)


def test_seeds_needed_is_the_smallest_number_that_will_do():
    n = power.seeds_needed(1.3, 1.0, 2.0)
    assert power.power(1.3, 1.0, 2.0, n, n) >= 0.8 > power.power(1.3, 1.0, 2.0, n - 1, n - 1)


def test_a_hopeless_effect_and_an_enormous_one():
    assert power.seeds_needed(1e-6, 1.0, 1.0) is None and power.seeds_needed(0.0, 1.0, 1.0) is None
    assert power.seeds_needed(1e6, 1.0, 1.0) == 2 and power.power(1e6, 1.0, 1.0, 5, 5) == 1.0


@pytest.mark.parametrize("a, b", [([1.0], [2.0]), ([1.0], [2.0, 3.0]), ([1.0, 1.0], [2.0, 2.0]), ([1.0, 1], [1.0, 1])])
def test_what_cannot_be_computed_is_nan(a, b):
    row = stats.pair(np.array(a), np.array(b), same_seeds=len(a) == len(b))
    assert (
        math.isnan(row["welch"]["p"]) and row["difference"] == np.mean(a) - np.mean(b) and row["seeds_needed"] is None
    )


def test_units_carry_through():
    """Scaling the returns scales difference, interval and detectable effect, and leaves p and g alone."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, 6), rng.normal(0, 2, 7)
    one, ten = stats.pair(a, b, same_seeds=False), stats.pair(10 * a, 10 * b, same_seeds=False)
    assert ten["welch"]["p"] == pytest.approx(one["welch"]["p"]) and ten["hedges_g"] == pytest.approx(one["hedges_g"])
    assert ten["mde_80"] == pytest.approx(10 * one["mde_80"], rel=1e-6) and ten["seeds_needed"] == one["seeds_needed"]
    assert ten["bootstrap_ci"] == pytest.approx([10 * x for x in one["bootstrap_ci"]])


def test_the_bootstrap_keeps_arms_apart():
    """Resampled within arms: two constant arms have no spread, however far apart they are."""
    assert stats.bootstrap(stats.difference, np.full(5, 3.0), np.full(5, 1.0)) == (2.0, 2.0)


def test_the_bootstrap_converges_to_the_t_interval():
    x, y = np.random.default_rng(0).normal(size=(2, 400))
    t = scipy_stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95)
    assert stats.bootstrap(stats.difference, x, y) == pytest.approx((t.low, t.high), abs=0.01)
