"""match_kl: what moves, by how much, and where it ends."""

import math
import random

import pytest

from ppo.config.options import option
from ppo.control.match import GAIN, JUMPS, Match, Matched
from ppo.control.progress import Progress, Seen
from ppo.control.schedule import Chosen, Schedule
from ppo.control.width import Knob, Width, knobs_of, widened
from ppo.loss.objective import dpo
from ppo.run.state import State
from ppo.update.loop import Halt

EPS = Knob("clip.eps", 0.2, Width(0.005, 3.0))


def test_a_width_is_read_off_the_signature():
    (eps,) = knobs_of("clip", option("clip", "fixed", eps=0.3))
    assert (eps.name, eps.value) == ("clip.eps", 0.3)
    assert [knob.name for knob in knobs_of("objective", option("objective", "dpo"))] == [
        "objective.alpha",
        "objective.beta",
    ]
    for group, name in (("objective", "ppo"), ("objective", "truly"), ("clip", "none"), ("penalty", "adaptive")):
        assert knobs_of(group, option(group, name)) == []
    assert knobs_of("penalty", option("penalty", "fixed", beta=0.0)) == []
    assert knobs_of("objective", dpo) == []  # a function that is not bound


def test_twice_as_wide_is_half_the_weight_of_a_penalty_and_twice_the_range_of_a_clip():
    assert widened(option("penalty", "fixed", beta=0.3), 2.0)(Progress()) == 0.15
    assert widened(option("clip", "asymmetric", below=0.1, above=0.2), 2.0)(Progress()) == (0.8, 1.4)
    bare = option("clip", "none")
    assert widened(bare, 2.0) is bare


def test_the_scale_moves_by_hand_computed_factors():
    match = Match(0.01, (EPS,))
    for kl, error in ((0.01, 0.0), (0.005, 0.5), (0.02, -1.0), (0.1, -3.0), (math.nan, -3.0), (math.inf, -3.0)):
        assert match(Matched(1.5, kl, updates=6)).scale == pytest.approx(1.5 * math.exp(0.25 * error)), kl
    for kl, factor in (
        (0.01, 1.0),
        (0.04, 0.5),
        (0.0025, 2.0),
        (1.0, 1 / math.e),
        (1e-6, math.e),
        (math.nan, 1 / math.e),
    ):
        assert match(Matched(1.5, kl, updates=5)).scale == pytest.approx(1.5 * factor), kl
    assert match(Matched(scale=1.5, kl=0.0)).scale == 1.5  # an update that was refused
    assert match(Matched(scale=1.5, kl=-1e-12)).scale == 1.5  # as rounding may leave it
    assert match(Matched()).scale == 1.0  # the first one


def test_an_epoch_that_was_undone_counts_as_far_as_it_went_and_the_mean_as_what_was_kept():
    start = State((), (), (), Chosen(1e-3, 0.8, 1.2, {}, Matched()))  # ty: ignore[invalid-argument-type]
    metrics = {"kl/chosen": 0.0, "kl/final": 0.0}
    undone = Halt("rollback", "kl/exact", 0.04, 0.03, 1, 8, undone=True)
    saw = start.note(metrics, undone).chosen.match
    assert saw == Matched(kl=0.04, mean=0.0, updates=1)
    assert Match(0.01, (EPS,))(saw).scale == pytest.approx(0.5)
    stopped = undone._replace(undone=False)
    assert start.note(metrics | {"kl/final": 0.02}, stopped).chosen.match == Matched(kl=0.02, mean=0.02, updates=1)


def test_the_scale_stays_where_every_width_is_within_its_bounds():
    match = Match(0.01, (EPS, Knob("penalty.beta", 0.5, Width(0.1, 100.0, inverse=True))))
    last = Matched(kl=1e-6, updates=10)
    for _ in range(100):
        last = match(last)
    assert last.scale == 5.0 and match.at_bound(last) and not match.at_bound(last._replace(scale=4.9))
    assert match.numbers(5.0) == {"clip.eps": 1.0, "penalty.beta": 0.1}
    assert match.said(last) == (
        "match_kl=0.01 is out of reach: clip.eps=1, penalty.beta=0.1 is as far as it may go, and the KL is 1e-06"
    )
    last = last._replace(kl=1.0)
    for _ in range(100):
        last = match(last)
    assert last.scale == pytest.approx(0.025) and match.at_bound(last)


def test_a_bound_is_one_only_where_the_width_would_go_on_beyond_it():
    match = Match(0.01, (Knob("clip.eps", 0.002, Width(0.005, 3.0)),))  # given below its bound: it may go no lower
    too_near, too_far = Matched(kl=0.001, updates=10), Matched(kl=0.1, updates=10)
    assert not match.at_bound(too_near) and match.at_bound(too_far)
    assert not match.at_bound(Matched(kl=0.0, updates=10))  # an update that was refused wants nothing
    assert not match.at_bound(too_far._replace(updates=JUMPS))  # on its way there may be a jump too many
    rounding = Matched(scale=1.5, kl=1e-15, updates=10)
    assert match(rounding) == rounding


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("at_first", [0.05, 0.2, 4.0])
def test_whatever_the_noise_the_mean_kl_becomes_the_target(power, at_first):
    """A KL of at_first x target x scale^power, times noise of a spread of 40 % with a long tail: over 200 updates within
    5 %, and what is left is what the formula says."""
    draw, match, last = random.Random(0), Match(0.01, (Knob("clip.eps", 0.2, Width(1e-6, 1e6)),)), Matched()
    kls, scales = [], []
    for _ in range(200):
        last = match(last)
        last = last.saw(0.01 * at_first * last.scale**power * draw.lognormvariate(0, 0.4))
        kls.append(last.kl), scales.append(last.scale)
    assert last.updates == 200 and last.mean == pytest.approx(sum(kls[JUMPS:]) / 195)
    assert last.mean / 0.01 == pytest.approx(1, abs=0.05)
    steered, way = kls[JUMPS:-1], scales[-1] / scales[JUMPS]
    assert sum(steered) / len(steered) / 0.01 == pytest.approx(1 - math.log(way) / (GAIN * len(steered)), abs=0.01)


def test_the_schedule_widens_clip_penalty_and_target_alike():
    knobs = (EPS, Knob("target_kl", 0.01, Width(1e-4, 1.0)))
    coef = {"kl": lambda progress: progress.target_kl}
    schedule = Schedule(option("lr", "constant"), option("clip", "fixed"), coef, 0.01, 100, Match(0.02, knobs))
    first = schedule(schedule.start(), Seen(), 0)
    assert (first.clip_low, first.clip_high, first.coef, first.match) == (0.8, 1.2, {"kl": 0.01}, Matched())
    second = schedule(first._replace(match=first.match.saw(0.01)), Seen(), 0)
    scale = math.sqrt(2)
    assert second.clip_high == pytest.approx(1 + 0.2 * scale) and second.coef["kl"] == pytest.approx(0.01 * scale)
    assert second.match == Matched(scale=pytest.approx(scale), kl=0.01, mean=0.01, updates=1)


def test_without_it_nothing_is_remembered():
    schedule = Schedule(option("lr", "constant"), option("clip", "fixed"), {}, 0.01, 100)
    assert schedule.start().match == () == schedule(schedule.start(), Seen(), 0).match
