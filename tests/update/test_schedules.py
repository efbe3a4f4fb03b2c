"""Learning rates, and where an update ends: the rules alone."""

import math

import pytest

from ppo.update import lr, stop


def test_adaptive_lr_gives_the_reference_values(vectors):
    for case in vectors["adaptive_lr"]:
        got = lr.adaptive_kl(0.5, case["kl"], case["lr_before"], case["desired"], value=1.0)
        assert got == pytest.approx(case["lr_after"]), case


def test_adaptive_lr_starts_at_its_value_and_stays_within_its_bounds():
    assert lr.adaptive_kl(0.0, None, None, 0.01, value=3e-4) == 3e-4
    assert lr.adaptive_kl(0.5, 1.0, 1.2e-5, 0.01, value=3e-4) == 1e-5
    assert lr.adaptive_kl(0.5, 1e-4, 9e-3, 0.01, value=3e-4) == 1e-2


@pytest.mark.parametrize("kl", [math.nan, math.inf])
def test_a_non_finite_kl_counts_as_too_large(kl):
    assert lr.adaptive_kl(0.5, kl, 3e-3, 0.01, value=3e-4) == pytest.approx(2e-3)


def test_a_kl_of_nothing_does_not_raise_the_learning_rate():
    """After an update that was refused or undone the policy is where it was: no sign that steps were too small."""
    assert lr.adaptive_kl(0.5, 0.0, 1e-3, 0.01, value=3e-4) == 1e-3


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1e-3), (0.25, 8e-4), (1.0, 2e-4)])
def test_linear_lr(progress, expected):
    assert lr.linear(progress, None, None, None, value=1e-3, end=2e-4) == pytest.approx(expected)
    assert lr.constant(progress, None, None, None, value=1e-3) == 1e-3


def test_limits_are_factor_times_target_at_the_place_of_the_rule():
    assert stop.none(None) == stop.none(0.01) == (math.inf, math.inf, math.inf)
    assert stop.minibatch(0.01, factor=2.0) == (0.02, math.inf, math.inf)
    assert stop.epoch(0.01, factor=2.0) == (math.inf, 0.02, math.inf)
    assert stop.rollback(0.01, factor=2.0) == (math.inf, math.inf, 0.02)
