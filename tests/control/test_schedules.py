"""Learning rates, clip ranges, penalties, and where an update ends: the rules alone, and the schedule that asks them."""

import math

import pytest

from ppo.config.options import option
from ppo.control import clip, lr, penalty
from ppo.control.progress import Progress, Seen, side
from ppo.control.schedule import Chosen, Schedule
from ppo.control.stop import Limits


def at(
    done: float = 0.5, *, last=None, kl: float | None = None, clip_fraction: float = 0.1, target_kl=0.01
) -> Progress:
    """Half-way, after an update that chose ``last`` and ended at a KL of ``kl``."""
    seen = Seen() if kl is None else Seen(kl=kl, clip_fraction=clip_fraction)
    return Progress(done=done, last=last, seen=seen, target_kl=target_kl)


def test_adaptive_lr_gives_the_reference_values(vectors):
    rule = option("lr", "adaptive_kl", value=1e-2, tolerance=2.0)  # as the reference has it
    for case in vectors["adaptive_lr"]:
        got = rule(at(last=case["before"], kl=case["kl"], target_kl=case["target"]))
        assert got == pytest.approx(case["after"]), case


def test_adaptive_lr_starts_at_its_value_and_stays_within_its_bounds():
    rule = option("lr", "adaptive_kl", value=3e-4)
    assert rule(at(0.0)) == 3e-4
    assert rule(at(last=1.2e-5, kl=1.0)) == 1e-5
    assert rule(at(last=9e-3, kl=1e-4)) == 1e-2


@pytest.mark.parametrize("stop", ["minibatch", "epoch", "rollback"])
@pytest.mark.parametrize(("group", "name"), [("lr", "adaptive_kl"), ("clip", "adaptive")])
def test_an_update_that_its_stop_had_to_end_went_too_far(group, name, stop):
    """As they are shipped: otherwise what adapts could only rise beside a stop."""
    assert option(group, name).keywords["tolerance"] < option("stop", stop).keywords["factor"]


@pytest.mark.parametrize("stop", ["minibatch", "epoch", "rollback"])
def test_the_rate_really_falls_beside_a_stop(trained, stop):
    """A rate far too large, as shipped but for its start: each update that the stop ended makes the next one slower."""
    words = ("env.task=target", "num_envs=4", "num_steps=64", "minibatch_size=32", "epochs=5", "total_steps=1024")
    rows, _ = trained(*words, "lr=adaptive_kl", "lr.value=1e-2", f"stop={stop}", "target_kl=0.01")
    assert [row["update/stop"] for row in rows[:-1]] == [stop] * 3
    assert [row["lr"] for row in rows] == pytest.approx([1e-2 / 1.5**i for i in range(4)])


@pytest.mark.parametrize("kl", [math.nan, math.inf])
def test_a_non_finite_kl_counts_as_too_large(kl):
    assert option("lr", "adaptive_kl")(at(last=3e-3, kl=kl)) == pytest.approx(2e-3)


def test_a_negative_estimate_is_a_small_kl():
    """k1 of a small step is below 0 every third time."""
    assert [side(x, 0.01, 1.5) for x in (-3e-4, -1e-10, 0.0, 1e-10, 3e-4, 0.01, 0.1, math.nan)] == [
        -1,
        0,
        0,
        0,
        -1,
        0,
        1,
        1,
    ]


def test_what_was_not_measured_moves_no_clip_range():
    """An update whose first step was refused."""
    for given in ({"fraction": 0.1}, {"fraction": None}):
        clip = option("clip", "adaptive", **given)
        last = (0.9, 1.1)
        assert clip(Progress(last=last, seen=Seen(kl=None, clip_fraction=None), target_kl=0.01)) == last


def test_a_kl_of_nothing_does_not_raise_the_learning_rate():
    """After an update that was refused or undone the policy is where it was, but for rounding: no sign that steps were too
    small."""
    for kl in (0.0, 1e-15, -1e-15):
        assert option("lr", "adaptive_kl")(at(last=1e-3, kl=kl)) == 1e-3


def test_adaptive_beta_gives_the_reference_values(vectors):
    rule = option("penalty", "adaptive", beta=7.0)
    for case in vectors["adaptive_beta"]:
        got = rule(at(last=case["before"], kl=case["kl"], target_kl=case["target"]))
        assert got == case["after"], case


def test_adaptive_beta_starts_at_its_value_moves_by_one_factor_and_stays_within_its_bounds():
    assert option("penalty", "adaptive", beta=3.0)(at(0.0)) == 3.0
    rule, beta = option("penalty", "adaptive", min=0.5, max=8.0), 1.0
    for kl, end in ((1e3, 8.0), (1e-6, 0.5), (math.nan, 8.0), (0.0, 8.0)):
        for _ in range(50):
            last, beta = beta, rule(at(last=beta, kl=kl))
            assert beta / last in (0.5, 1.0, 2.0)
        assert beta == end
    assert penalty.none(at(last=3.0, kl=1.0)) == 0.0
    assert option("penalty", "fixed", beta=0.3)(at(last=3.0, kl=1.0)) == 0.3


def test_adaptive_clip_follows_the_kl_or_the_clip_fraction():
    """KL too large: narrower. Too many outside: wider, since a narrower range would clip more. Within the band: as it was."""

    def e(last, kl, clip_fraction=0.1, **options):
        low, high = option("clip", "adaptive", **{"tolerance": 1.5} | options)(
            at(last=(1 - last, 1 + last), kl=kl, clip_fraction=clip_fraction)
        )
        assert low == pytest.approx(2 - high)
        return pytest.approx(high - 1)

    assert option("clip", "adaptive", eps=0.3)(at(0.0)) == (0.7, 1.3)
    assert e(0.24, 0.016) == 0.2 and e(0.2, 0.006) == 0.24
    assert e(0.2, 0.0149) == e(0.2, 0.0067) == e(0.2, 0.0) == 0.2
    assert e(0.24, math.nan) == 0.2
    assert e(0.055, 1.0) == 0.05 and e(0.49, 1e-4) == 0.5
    for share, expected in ((0.5, 0.24), (0.25, 0.2), (0.1, 0.2 / 1.2), (0.0, 0.2 / 1.2)):
        assert e(0.2, 99.0, share, fraction=0.2) == expected


@pytest.mark.parametrize(("done", "expected"), [(0.0, 1e-3), (0.25, 8e-4), (1.0, 2e-4)])
def test_linear_lr(done, expected):
    assert option("lr", "linear", value=1e-3, end=2e-4)(at(done)) == pytest.approx(expected)
    assert lr.constant(at(done), value=1e-3) == 1e-3


@pytest.mark.parametrize(
    ("name", "options", "done", "expected"),
    [
        ("fixed", {"eps": 0.4}, 0.5, (0.6, 1.4)),
        ("asymmetric", {"below": 0.2, "above": 0.28}, 0.5, (0.8, 1.28)),
        ("linear", {"eps": 0.2, "end": 0.1}, 0.0, (0.8, 1.2)),
        ("linear", {"eps": 0.2, "end": 0.1}, 0.5, (0.85, 1.15)),
        ("linear", {"eps": 0.2, "end": 0.1}, 1.0, (0.9, 1.1)),
        ("none", {}, 0.5, (0.0, math.inf)),
    ],
)
def test_clip_ranges(name, options, done, expected):
    assert option("clip", name, **options)(at(done)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "options", "limits"),
    [
        ("none", {}, Limits("none")),
        ("minibatch", {"factor": 2.0}, Limits("minibatch", step=0.02)),
        ("epoch", {"factor": 2.0}, Limits("epoch", epoch=0.02)),
        ("rollback", {"factor": 2.0}, Limits("rollback", batch=0.02)),
        ("ratio", {"limit": 0.3}, Limits("ratio", step=0.3, metric="ratio/deviation")),
    ],
)
def test_limits_are_factor_times_target_at_the_place_of_the_rule(name, options, limits):
    assert option("stop", name, **options)(0.01) == limits
    if name in ("none", "ratio"):
        assert option("stop", name, **options)(None) == limits
    assert Limits("none")[1:] == (math.inf, "kl/stop", math.inf, math.inf)


# The schedule


def test_every_choice_is_asked_with_what_it_chose_last_and_what_was_seen():
    asked = {}

    def choose(name, value):
        def rule(progress: Progress):
            asked[name] = progress
            return value

        return rule

    coef = {"entropy": choose("entropy", 0.1), "kl": choose("kl", 2.0)}
    schedule = Schedule(choose("lr", 1e-3), choose("clip", (0.8, 1.3)), coef, target_kl=0.02, total_steps=400)
    seen = Seen(kl=0.05)
    first = schedule(schedule.start(), Seen(), 0)
    assert all(progress == Progress(0.0, None, Seen(), 0.02) for progress in asked.values()) and len(asked) == 4
    assert first == Chosen(lr=1e-3, clip_low=0.8, clip_high=1.3, coef={"entropy": 0.1, "kl": 2.0})
    assert schedule(first, seen, 100) == first
    remembered = {"lr": 1e-3, "clip": (0.8, 1.3), "entropy": 0.1, "kl": 2.0}
    assert asked == {name: Progress(0.25, last, seen, 0.02) for name, last in remembered.items()}


def test_a_range_that_is_open_above_is_remembered_too():
    """clip=none chooses (0, inf): nothing that is taken for 'not chosen yet'."""
    asked = []
    schedule = Schedule(lambda p: 1.0, lambda p: asked.append(p.last) or clip.none(p), {}, None, 10)
    schedule(schedule(schedule.start(), Seen(), 0), Seen(), 5)
    assert asked == [None, (0.0, math.inf)]
