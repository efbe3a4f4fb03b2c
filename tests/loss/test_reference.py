"""The pull towards a frozen policy: its coefficient, its divergence, and what a run does with it."""

import math

import pytest
import torch
from torch.func import grad

from ppo.config.options import ConfigError, option
from ppo.control.progress import Progress, Seen
from ppo.loss.kl import FAMILY
from ppo.loss.reference import none
from ppo.loss.terms import reference
from ppo.network.frozen import Frozen
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.run import checkpoint as files
from ppo.update.total import Guards, build_loss


def initial(*policies, **given):
    return option("reference", "initial", **given)(*policies)


def refuse(run: str) -> Frozen:
    raise AssertionError("read")


@pytest.fixture
def frozen(problem):
    return Frozen(problem().module, ObsNormaliser.identity())


def test_without_one_there_is_none(frozen):
    assert none(frozen, refuse) is None


def loss_of(problem, make_loss, numbers, divergence=None, coef=0.0):
    """``loss(params, batch)`` with the pull of that weight; without one where there is no divergence."""
    terms = () if divergence is None else (reference(divergence),)
    total, weight = build_loss(problem.evaluate, make_loss(terms=terms), Guards()), torch.full((64,), 1 / 64)
    return lambda params, batch: total(params, batch, weight, numbers(coef={"reference": coef}))[0]


@pytest.mark.parametrize("kl", ["exact", "reverse"])
def test_the_policy_itself_as_reference_gives_no_loss_and_no_gradient(problem, numbers, make_loss, frozen, kl):
    p, pull = problem(), initial(frozen, refuse, kl=kl)
    batch = p.batch._replace(reference=pull.policy(p.batch.obs))
    free, held = (loss_of(p, make_loss, numbers, x, 10.0) for x in (None, pull.divergence))
    assert held(p.learner.params, batch) == free(p.learner.params, batch)
    one, two = (grad(f)(p.learner.params, batch) for f in (free, held))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


def test_the_loss_is_the_coefficient_times_the_divergence_that_kl_calls_so(problem, numbers, make_loss, frozen):
    """One word, one direction: the reference stands where kl= has the old policy."""
    p = problem(moved=0.3)
    batch = p.batch._replace(reference=frozen(p.batch.obs))
    policy = p.module.policy(p.batch.obs)
    both = {name: FAMILY[name](batch.reference, policy, torch.zeros(64)).mean() for name in ("exact", "reverse")}
    assert abs(both["exact"] - both["reverse"]) > 0.01
    torch.testing.assert_close(both["reverse"], policy.kl(batch.reference).mean())
    for kl, expected in both.items():
        pull = initial(frozen, refuse, kl=kl).divergence
        with_it, without = (loss_of(p, make_loss, numbers, x, 0.5)(p.learner.params, batch) for x in (pull, None))
        torch.testing.assert_close(with_it - without, 0.5 * expected, rtol=1e-4, atol=1e-5)


def test_schedules_of_the_coefficient(frozen):
    constant, linear, adaptive = (
        initial(frozen, refuse, coef=0.1, end=0.02, target=0.05, schedule=s).coef
        for s in ("constant", "linear", "adaptive")
    )

    def after(kl, last=0.4, done=0.5):
        return Progress(done=done, last=last, seen=Seen(reference_kl=kl))

    assert [constant(after(9.0, done=x)) for x in (0.0, 0.7)] == [0.1, 0.1]
    assert [linear(Progress(done=x)) for x in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.06, 0.02])
    assert adaptive(Progress()) == 0.1
    assert [adaptive(after(kl)) for kl in (0.08, 0.06, 0.03, math.nan)] == [0.8, 0.4, 0.2, 0.8]
    assert adaptive(after(9.0, last=100.0)) == 100 and adaptive(after(1e-9, last=1e-5)) == 1e-5


@pytest.mark.parametrize(
    "options", [{"schedule": "cosine"}, {"kl": "both"}, {"coef": -1.0}, {"target": math.nan}, {"held_out": -1}]
)
def test_what_makes_no_sense_is_refused(frozen, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        initial(frozen, refuse, **options)


def test_a_frozen_policy_sees_observations_by_its_own_statistics(problem):
    p = problem()
    moments = Moments.empty(3).update(torch.tensor([[0.0, 1.0, 2.0], [4.0, 1.0, 8.0]]))
    ours = Frozen(p.module, ObsNormaliser.of(moments))(p.batch.obs)
    expected = p.module.policy((p.batch.obs - torch.tensor([2.0, 1.0, 5.0])) / torch.tensor([2.0, 1.0, 3.0]))
    torch.testing.assert_close(ours.mean, expected.mean)
    assert not ours.mean.requires_grad
    there = {"there": Frozen(p.module, ObsNormaliser.of(moments))}
    assert option("reference", "checkpoint", run="there")(there["there"], there.get).policy is there["there"]


# Whole runs

WORDS = ("env=gym", "env.id=Pendulum-v1", "normalise.obs=true", "total_steps=512", "lr.value=1e-2")


def test_fine_tuning_begins_where_the_other_run_ended_and_a_reference_holds_it_there(trained, tmp_path):
    _, before = trained(*WORDS, name="before")
    run, words = tmp_path / "before", (*WORDS, "reference.held_out=64")
    free, _ = trained(*words, f"init={run}", "reference=initial", "reference.coef=0", name="free")
    held, after = trained(*words, f"init={run}", "reference=initial", "reference.coef=10", name="held")
    assert after["obs_moments.count"] == 2 * before["obs_moments.count"]
    for name in ("reference/kl", "reference/kl_held_out"):
        assert 0 < held[-1][name] < 0.2 * free[-1][name]
    same, _ = trained(
        *words, f"init={run}", "reference=checkpoint", f"reference.run={run}", "reference.coef=10", name="c"
    )
    for ours, theirs in zip(same, held, strict=True):
        assert ours["reference/kl"] == pytest.approx(theirs["reference/kl"], rel=1e-3)


def test_at_the_very_start_the_policy_is_its_own_reference(trained):
    """One step too small to move anything: what is measured after it is still nothing."""
    rows, _ = trained(*WORDS, "lr.value=1e-12", "reference=initial", "reference.held_out=32", "total_steps=128")
    assert rows[0]["reference/kl"] < 1e-9 and rows[0]["reference/kl_held_out"] < 1e-9
    assert rows[0]["reference/coef"] == 0.01


def test_the_observation_statistics_of_a_reference_stand_still(trained, tmp_path):
    """A later reference policy would see other inputs: with learning as good as off, the policy drifts from it."""
    rows, _ = trained(*WORDS, "lr.value=1e-12", "reference=initial", "reference.held_out=32")
    assert rows[1]["reference/kl_held_out"] > 100 * max(rows[0]["reference/kl_held_out"], 1e-9)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["init=nowhere"], ["init=nowhere", "no such checkpoint"]),
        (["reference=checkpoint", "reference.run=nowhere"], ["reference.run=nowhere", "no such checkpoint"]),
        (["reference=checkpoint"], ["reference.run", "give a run"]),
        (["reference=initial", "reference.schedule=cosine"], ["reference.schedule=cosine", "linear"]),
    ],
)
def test_mistakes_are_one_line(trained, words, named):
    with pytest.raises(ConfigError) as error:
        trained(*words)
    assert all(word in str(error.value) for word in named)


def test_a_run_of_another_network_cannot_be_continued(trained, tmp_path):
    trained(name="other")
    for word, named in (
        ("network.actor=[8]", "learner.params"),
        ("network.activation=relu", "network.activation=tanh"),
    ):
        with pytest.raises(ConfigError, match=named):
            trained(word, f"init={tmp_path / 'other'}", name=word)
    assert files.find(tmp_path / "other").exists()
