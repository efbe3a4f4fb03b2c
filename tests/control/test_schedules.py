"""Learning rates, and where an update ends: the rules alone."""

import math

import pytest

from ppo.control import clip, lr, penalty, stop
from ppo.control.progress import Seen


def seen(kl: float, clip_fraction: float = 0.1) -> Seen:
    return Seen(kl, clip_fraction)


def test_adaptive_lr_gives_the_reference_values(vectors):
    for case in vectors["adaptive_lr"]:
        got = lr.adaptive_kl(0.5, case["lr_before"], seen(case["kl"]), case["desired"], value=1.0)
        assert got == pytest.approx(case["lr_after"]), case


def test_adaptive_lr_starts_at_its_value_and_stays_within_its_bounds():
    assert lr.adaptive_kl(0.0, None, None, 0.01, value=3e-4) == 3e-4
    assert lr.adaptive_kl(0.5, 1.2e-5, seen(1.0), 0.01, value=3e-4) == 1e-5
    assert lr.adaptive_kl(0.5, 9e-3, seen(1e-4), 0.01, value=3e-4) == 1e-2


@pytest.mark.parametrize("kl", [math.nan, math.inf])
def test_a_non_finite_kl_counts_as_too_large(kl):
    assert lr.adaptive_kl(0.5, 3e-3, seen(kl), 0.01, value=3e-4) == pytest.approx(2e-3)


def test_a_kl_of_nothing_does_not_raise_the_learning_rate():
    """After an update that was refused or undone the policy is where it was: no sign that steps were too small."""
    assert lr.adaptive_kl(0.5, 1e-3, seen(0.0), 0.01, value=3e-4) == 1e-3


def test_adaptive_beta_gives_the_reference_values(vectors):
    for case in vectors["adaptive_beta"]:
        got = penalty.adaptive(0.5, case["beta_before"], seen(case["kl"]), case["target"], beta=7.0)
        assert got == case["beta_after"], case


def test_adaptive_beta_starts_at_its_value_moves_by_one_factor_and_stays_within_its_bounds():
    assert penalty.adaptive(0.0, None, None, 0.01, beta=3.0) == 3.0
    beta = 1.0
    for kl, end in ((1e3, 8.0), (1e-9, 0.5), (math.nan, 8.0), (0.0, 8.0)):
        for _ in range(50):
            last, beta = beta, penalty.adaptive(0.5, beta, seen(kl), 0.01, min=0.5, max=8.0)
            assert beta / last in (0.5, 1.0, 2.0)
        assert beta == end
    assert penalty.none(0.5, 3.0, seen(1.0), None) == 0.0
    assert penalty.fixed(0.5, 3.0, seen(1.0), None, beta=0.3) == 0.3


def test_adaptive_clip_follows_the_kl_or_the_clip_fraction():
    """KL too large: narrower. Too many outside: wider, since a narrower range would clip more. Within the band: as it was."""

    def e(last, measured, **options):
        low, high = clip.adaptive(0.5, (1 - last, 1 + last), measured, 0.01, **options)
        assert low == pytest.approx(2 - high)
        return pytest.approx(high - 1)

    assert clip.adaptive(0.0, None, None, 0.01, eps=0.3) == (0.7, 1.3)
    assert e(0.24, seen(0.016)) == 0.2 and e(0.2, seen(0.006)) == 0.24
    assert e(0.2, seen(0.0149)) == e(0.2, seen(0.0067)) == e(0.2, seen(0.0)) == 0.2
    assert e(0.24, seen(math.nan)) == 0.2
    assert e(0.055, seen(1.0)) == 0.05 and e(0.49, seen(1e-4)) == 0.5
    for share, expected in ((0.5, 0.24), (0.25, 0.2), (0.1, 0.2 / 1.2), (0.0, 0.2 / 1.2)):
        assert e(0.2, seen(99.0, share), fraction=0.2) == expected


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 1e-3), (0.25, 8e-4), (1.0, 2e-4)])
def test_linear_lr(progress, expected):
    assert lr.linear(progress, None, None, None, value=1e-3, end=2e-4) == pytest.approx(expected)
    assert lr.constant(progress, None, None, None, value=1e-3) == 1e-3


def test_limits_are_factor_times_target_at_the_place_of_the_rule():
    assert stop.none(None) == stop.none(0.01) == (math.inf,) * 4
    assert stop.minibatch(0.01, factor=2.0) == (0.02, math.inf, math.inf, math.inf)
    assert stop.epoch(0.01, factor=2.0) == (math.inf, 0.02, math.inf, math.inf)
    assert stop.rollback(0.01, factor=2.0) == (math.inf, math.inf, 0.02, math.inf)
    assert stop.ratio(None, limit=0.3) == (math.inf, math.inf, math.inf, 0.3)
