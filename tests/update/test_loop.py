"""A whole update: against a textbook loop, and where and how it ends."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import blank
from ppo.config.options import option
from ppo.control.stop import Limits
from ppo.loss import kl, norm
from ppo.loss.terms import Term, entropy, penalty
from ppo.network.distributions import Gaussian
from ppo.network.flat import build_evaluate
from ppo.update import loop as subject
from ppo.update.loop import Halt, Update, run_epochs, update
from ppo.update.measure import Measured, build_measure
from ppo.update.natural import build_natural_step
from ppo.update.report import measured_metrics
from ppo.update.step import build_step
from ppo.update.total import Guards, build_loss
from tests.update.steps import same, turn, watched

TERMS = {"entropy": Term("entropy", entropy), "kl": penalty(kl.exact)}
NO_LIMITS = Limits("none")


def bind(evaluate, loss, *, limits=NO_LIMITS, normalise=norm.none, epochs=3, size=16, micro_batches=1) -> Update:
    """An update in which every choice that is not given is the plainest."""
    return Update(
        step=build_step(evaluate, loss, Guards(), watch=limits.metric, micro_batches=micro_batches),
        measure=build_measure(evaluate, loss.kl, clamp=10.0),
        norm=normalise,
        limits=limits,
        epochs=epochs,
        minibatch_size=size,
    )


@pytest.fixture
def play(numbers, make_loss):
    """Run an update of K = 4 minibatches of 16 an epoch; returns (learner, halt, metrics, every step's turn)."""

    def run(
        problem, *, epochs=3, limits=NO_LIMITS, normalise=norm.none, micro_batches=1, size=16, coef=None, **changes
    ):
        _, evaluate, learner, batch = problem
        loss = make_loss(terms=tuple(TERMS[name] for name in coef or ()))
        bound = bind(
            evaluate, loss, limits=limits, normalise=normalise, epochs=epochs, size=size, micro_batches=micro_batches
        )
        step, turns = watched(bound.step)
        knobs = numbers(batch.obs.dtype, limit=limits.step, coef=coef, **changes)
        g = torch.Generator().manual_seed(5)
        return *update(bound._replace(step=step), learner, batch, knobs, g), turns

    return run


def test_an_update_equals_a_textbook_ppo_loop(problem, play):
    """Autograd, torch.optim.Adam and torch.distributions, minibatch by minibatch; the same order of samples."""
    start = problem(64, dtype=torch.float64)
    module, batch, g = start.module, start.batch, torch.Generator().manual_seed(5)
    learner, halt, metrics, _ = play(
        start, epochs=5, normalise=norm.minibatch, lr=1e-2, max_grad_norm=0.5, coef={"entropy": 0.01, "kl": 0.1}
    )

    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2, eps=1e-5)
    old = Independent(Normal(batch.policy.mean, batch.policy.log_std.exp()), 1)
    for _ in range(5):
        for index in torch.randperm(64, generator=g).split(16):
            (mean, log_std), value = module(batch.obs)
            new = Independent(Normal(mean, log_std.exp()), 1)
            ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()[index]
            a = batch.advantage[index]
            a = (a - a.mean()) / a.std()
            loss = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
            loss = loss + 0.5 * torch.nn.functional.mse_loss(value[index], batch.target[index])
            loss = loss - 0.01 * new.entropy()[index].mean() + 0.1 * kl_divergence(old, new)[index].mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimiser.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(learner.params, expected, rtol=0, atol=1e-6)
    assert halt is None and metrics["update/steps"] == 20 == learner.count.item()
    with torch.no_grad():
        mean, log_std = module.policy(batch.obs)
        final = kl_divergence(old, Independent(Normal(mean, log_std.exp()), 1)).mean().item()
    assert metrics["kl/final"] == pytest.approx(final, rel=1e-4)


def test_micro_batches_change_nothing(problem, play):
    start = problem(64, dtype=torch.float64)
    start.batch.mask[::5] = False
    one, two = (play(start, normalise=norm.minibatch, lr=1e-2, micro_batches=n)[0] for n in (1, 4))
    torch.testing.assert_close(one.params, two.params, rtol=0, atol=1e-9)


def test_the_behaviour_policy_stays_the_same_for_all_epochs(problem, play):
    """Buffer and KL to it: after four epochs the old parameters still have KL 0, the new ones a KL from where they were."""
    start = problem()
    kept = tree_map(lambda x: x.clone(), start.batch)
    learner, _, metrics, _ = play(start, epochs=4, lr=1e-2)
    tree_map(lambda x, y: torch.testing.assert_close(x, y, rtol=0, atol=0), start.batch, kept)
    _, evaluate, before, batch = problem()
    measure = build_measure(evaluate, lambda old, new, log_ratio: new.kl(old), clamp=10.0)
    assert measure(before.params, batch).kl <= 1e-6
    after = measured_metrics(measure(learner.params, batch))
    assert after["kl/final"] == metrics["kl/final"] > 1e-3
    assert after["kl/chosen"] == pytest.approx(after["kl/final_reverse"])
    parts = [after[f"kl/{part}_part/{d}"] for part in ("mean", "sigma") for d in (0, 1)]
    assert sum(parts) == pytest.approx(after["kl/final"]) == after["kl/mean_part"] + after["kl/sigma_part"]


def test_a_stopped_learner_starts_the_next_update_afresh(problem, play):
    start = problem()
    stopped = start.learner._replace(stopped=torch.ones((), dtype=torch.int64))
    learner, halt, _, _ = play(start._replace(learner=stopped))
    assert halt is None and learner.count.item() == 12


def test_what_is_checked_first_is_the_first_minibatch(problem, play):
    """Not a later one, when the policy has moved: of a batch that is off policy by d sigma, d is seen."""
    moved, still = (play(problem(), lr=lr)[2] for lr in (1e-2, 0.0))
    for name in ("check/first_log_ratio", "check/first_kl"):
        assert moved[name] == still[name] <= 1e-6
    start = problem(moved=0.1)
    _, _, metrics, turns = play(start, lr=1e-2)
    assert metrics["check/first_log_ratio"] == turns[0].metrics["max_log_ratio"] > 0.1
    family = [turns[0].metrics[f"kl/{name}"] for name in kl.FAMILY]
    assert metrics["check/first_kl"] == max(map(abs, family)) > 1e-3


def test_guards_are_counted_over_all_steps(problem, play):
    """Two epochs of four minibatches of 16; in every one of them all log-ratios are beyond all bounds."""
    start = problem()
    start.batch.policy.mean.add_(40.0)
    metrics = play(start, epochs=2, lr=0.0)[2]
    assert [metrics[f"guard/{name}"] for name in ("clamped", "warned", "extreme", "nonfinite")] == [128, 128, 128, 0]


def test_the_final_kl_of_a_sampled_estimator_is_clamped_too(problem):
    """e^r of a log-ratio of a thousand is infinite: lr=adaptive_kl would read nothing else."""
    _, evaluate, learner, batch = problem()
    batch.policy.mean[:3] += 1000**0.5 * batch.policy.log_std[:3].exp()
    batch.action[:3] = batch.policy.mean[:3] - 1000**0.5 * batch.policy.log_std[:3].exp()
    measured = build_measure(evaluate, kl.k3, clamp=10.0)(learner.params, batch)
    assert measured.chosen.item() == pytest.approx(3 / 64 * (math.e**10 - 11), rel=1e-4)


def test_masked_samples_enter_no_number_of_an_update(problem, play):
    """Neither of the batch, nor of its steps, nor of its end."""
    start, wild = problem(), problem()
    for p in (start, wild):
        p.batch.mask[::5] = False
    for x in (wild.batch.obs, wild.batch.action, wild.batch.advantage, wild.batch.target, wild.batch.value):
        x[::5] = 1e3
    (one, _, metrics, _), (two, _, wild_metrics, _) = (play(p, normalise=norm.minibatch) for p in (start, wild))
    assert same(one, two) and metrics == wild_metrics
    assert play(wild, normalise=norm.none)[2]["advantage/sign_flip"] == 0


# Stop: minibatch


def test_the_minibatch_rule_refuses_a_step_and_takes_no_later_one(problem, play):
    free = play(problem(), lr=1e-2)
    kls = [turn.metrics["kl/stop"] for turn in free[3]]
    k = max(range(12), key=kls.__getitem__)  # counts from 0
    limit = kls[k] * 0.999
    assert max(kls[:k]) < limit and 4 <= k < 11
    learner, halt, metrics, turns = play(problem(), lr=1e-2, limits=Limits("minibatch", step=limit))
    assert [turn.metrics["taken"] for turn in turns] == [1] * k + [0]
    assert same(learner, turns[k - 1].learner) and same(learner, free[3][k - 1].learner) and learner.count.item() == k
    assert halt == Halt("minibatch", "kl/stop", pytest.approx(kls[k]), limit, epoch=k // 4 + 1, minibatch=k % 4 + 1)
    assert metrics["update/steps"] == k and metrics["update/planned"] == 12 and metrics["update/stop"] == "minibatch"


def test_means_cover_the_steps_taken_and_not_the_refused_one(problem, play):
    kls = [turn.metrics["kl/stop"] for turn in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=kls.__getitem__)
    _, _, metrics, turns = play(problem(), lr=1e-2, limits=Limits("minibatch", step=kls[k] * 0.999))
    assert len(turns) == k + 1 and metrics["kl/exact"] == pytest.approx(sum(kls[:k]) / k, rel=1e-5)
    assert metrics["ratio/max"] == max(turn.metrics["ratio/max"] for turn in turns[:k])


def test_where_nothing_stops_at_once_the_rest_of_an_epoch_are_no_ops(problem, numbers, make_loss):
    """What a device does that is not read back in between: later steps change nothing, and count as not taken."""
    _, evaluate, learner, batch = problem(moved=0.2)
    step = build_step(evaluate, make_loss(), Guards())
    learner, _ = step(learner, batch, numbers(limit=1e-9))
    for _ in range(3):
        after, metrics = turn(step, learner, batch, numbers())
        assert same(after, learner) and metrics["taken"] == 0


@pytest.mark.parametrize("name", ["none", "minibatch", "global", "group", "robust", "ema"])
def test_an_update_reads_nothing_back_from_its_device(problem, numbers, make_loss, name):
    """The meta device computes shapes only: whatever asks it for a number is an error."""
    _, evaluate, learner, batch = problem(64)
    evaluate = build_evaluate(evaluate.network.to("meta"))
    limits = Limits("all", step=0.01, metric="clip/fraction", epoch=0.02, batch=0.03)
    terms, coef = tuple(TERMS.values()), dict.fromkeys(TERMS, 0.1)
    bound = bind(evaluate, make_loss(terms=terms), limits=limits, normalise=option("norm", name), epochs=2)
    learner, batch, knobs = (tree_map(lambda x: x.to("meta"), x) for x in (learner, batch, numbers(coef=coef)))
    learner, trace = run_epochs(bound, learner, blank(batch), knobs, torch.Generator())
    assert trace.table.rows.shape == (8, len(bound.step.reduce)) and len(trace.ends) == 2
    surrogate = build_loss(evaluate, make_loss(terms=terms, critic=False), Guards())
    finish = build_natural_step(evaluate, surrogate, 0.01, cg_steps=2, damping=0.1, backtracks=2, shrink=0.5)
    finish(learner, trace.minibatches, knobs)
    bound.measure(learner.params, batch)


# RPO


def test_rpo_moves_the_mean_in_the_objective_and_nothing_else(problem, numbers, make_loss):
    """The ratio is N(a; mean + z) / N(a; old mean); KL, log-ratio and guards stay those of the policy itself."""
    module, evaluate, learner, batch = problem(moved=0.1, dtype=torch.float64)
    noise = torch.rand(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    moved, still = (build_step(evaluate, make_loss(noise=use), Guards()) for use in (True, False))
    _, metrics = turn(moved, learner, batch._replace(noise=noise), numbers(torch.float64))
    (mean, log_std), _ = module(batch.obs)
    new, old = (Independent(Normal(m, s.exp()), 1) for m, s in ((mean + noise, log_std), batch.policy))
    ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()
    expected = torch.min(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage).mean().item()
    assert metrics["loss/policy"] == pytest.approx(-expected, rel=1e-5)
    _, others = turn(still, learner, batch, numbers(torch.float64))
    differ = {name.split("/")[0] for name, number in metrics.items() if number != others[name]}
    assert differ <= {"loss", "grad"}


def test_rpo_draws_within_its_width_anew_each_epoch_and_the_same_under_the_same_seed(problem, numbers, make_loss):
    def noises(seed):
        _, evaluate, learner, batch = problem()
        bound, seen = bind(evaluate, make_loss(noise=True), epochs=2), []

        def take(learner, minibatch, knobs):
            seen.append(minibatch.noise)
            return bound.step(learner, minibatch, knobs)

        g = torch.Generator().manual_seed(seed)
        spied = bound._replace(step=bound.step._replace(take=take), rpo=0.5)
        metrics = update(spied, learner, batch, numbers(lr=0.0), g)[2]
        assert metrics["check/first_log_ratio"] <= 1e-6 and metrics["kl/final"] == 0
        return torch.cat(seen)

    one, two, other = noises(0), noises(0), noises(1)
    assert torch.equal(one, two) and not torch.equal(one, other) and one.shape == (128, 2)
    assert one.abs().max() <= 0.5 and one.max() > 0.45 and one.min() < -0.45 and abs(one.mean()) < 0.1
    assert len(one.flatten().unique()) == 256


# Stop: ratio


def test_the_ratio_rule_refuses_a_step_where_ratios_have_left_one(problem, play):
    """Mean |ratio - 1| of the minibatch, by torch.distributions' log probabilities, before the step."""
    seen = [turn.metrics["ratio/deviation"] for turn in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=seen.__getitem__)
    limit = seen[k] * 0.999
    limits = Limits("ratio", step=limit, metric="ratio/deviation")
    learner, halt, metrics, turns = play(problem(), lr=1e-2, limits=limits)
    assert max(seen[:k]) < limit and [turn.metrics["taken"] for turn in turns] == [1] * k + [0]
    assert same(learner, turns[k - 1].learner) and metrics["update/stop"] == "ratio"
    where = {"epoch": k // 4 + 1, "minibatch": k % 4 + 1}
    assert halt == Halt("ratio", "ratio/deviation", pytest.approx(seen[k]), limit, **where)
    _, evaluate, learner, batch = start = problem(moved=0.1)
    (mean, log_std), _ = start.module(batch.obs)
    ratio = (Gaussian(mean, log_std).log_prob(batch.action) - batch.policy.log_prob(batch.action)).exp()
    (first,) = play(start, epochs=1, size=64)[3]
    assert first.metrics["ratio/deviation"] == pytest.approx((ratio - 1).abs().mean().item())


def test_a_rule_on_any_metric_of_a_step_stops_by_its_own_name(problem, play):
    """The share of clipped samples, say: refused where it is first above 0.3, and said so in the metrics."""
    shares = [turn.metrics["clip/fraction"] for turn in play(problem(), lr=2e-2)[3]]
    k = next(i for i, share in enumerate(shares) if share > 0.3)
    assert k > 0
    limits = Limits(name="clip", metric="clip/fraction", step=0.3)
    learner, halt, metrics, turns = play(problem(), lr=2e-2, limits=limits)
    assert len(turns) == k + 1 and learner.count.item() == k and same(learner, turns[k - 1].learner)
    assert halt == Halt("clip", "clip/fraction", shares[k], 0.3, epoch=k // 4 + 1, minibatch=k % 4 + 1)
    assert metrics["update/stop"] == "clip" and metrics["stop/value"] == shares[k] and metrics["stop/limit"] == 0.3


# The path of the KL


def test_the_trace_says_where_any_limit_is_first_exceeded(problem, play):
    """Of every estimator, for limits at and beside the KLs of the twelve steps; and what each epoch's mean was."""
    _, _, metrics, turns = play(problem(), lr=1e-2)
    for name in kl.FAMILY:
        kls = [turn.metrics[f"kl/{name}"] for turn in turns]
        for limit in (x * scale for x in kls if x > 0 for scale in (0.999, 1, 1.001)):
            expected = next((i for i, x in enumerate(kls, start=1) if np.float32(x) > np.float32(limit)), None)
            assert (
                next((step for step, x in metrics[f"trace/{name}"] if np.float32(x) > np.float32(limit)), None)
                == expected
            )
        assert len(metrics[f"trace/{name}"]) < 12
        assert metrics[f"trace/epoch/{name}"] == pytest.approx([sum(kls[i : i + 4]) / 4 for i in (0, 4, 8)], rel=1e-5)
    assert metrics["trace/first"] == pytest.approx([turns[i].metrics["kl/exact"] for i in (0, 4, 8)])


@pytest.mark.parametrize("mark", [kl.sampled, kl.closed_form])
def test_an_estimator_that_is_added_is_measured_its_error_logged_and_its_path_kept(problem, play, mark):
    """Twice k2; nothing but its mark has to know of it."""

    def twice_k2(old, new, log_ratio):
        return log_ratio.square()

    family, sampled = kl.FAMILY.copy(), kl.SAMPLED.copy()
    try:
        mark(twice_k2)
        metrics = play(problem(), lr=1e-2)[2]
    finally:
        for known, before in ((kl.FAMILY, family), (kl.SAMPLED, sampled)):
            known.clear()
            known.update(before)
    assert metrics["kl/twice_k2"] == pytest.approx(2 * metrics["kl/k2"])
    assert metrics["trace/epoch/twice_k2"] == pytest.approx([2 * x for x in metrics["trace/epoch/k2"]])
    assert metrics["trace/twice_k2"] == [[step, pytest.approx(2 * x)] for step, x in metrics["trace/k2"]]
    if mark is kl.sampled:
        assert metrics["kl/error_twice_k2"] == pytest.approx(metrics["kl/twice_k2"] - metrics["kl/exact"])
    else:
        assert "kl/error_twice_k2" not in metrics
    assert "kl/twice_k2" not in play(problem(), lr=1e-2)[2]


def test_the_trace_ends_with_the_refused_step(problem, play):
    kls = [turn.metrics["kl/stop"] for turn in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=kls.__getitem__)
    metrics = play(problem(), lr=1e-2, limits=Limits("minibatch", step=kls[k] * 0.999))[2]
    assert metrics["trace/exact"][-1] == [k + 1, pytest.approx(metrics["stop/value"])]
    assert len(metrics["trace/epoch/exact"]) == k // 4 < len(metrics["trace/first"]) and "trace/after" not in metrics


# Stop: epoch


def test_the_epoch_rule_ends_after_the_epoch_whose_mean_kl_was_too_large(problem, play):
    kls = torch.tensor([turn.metrics["kl/stop"] for turn in play(problem(), epochs=4, lr=3e-3)[3]]).view(4, 4).mean(1)
    limit = (kls[1] + kls[2]).item() / 2
    assert kls[1] < limit < kls[2]
    learner, halt, metrics, turns = play(problem(), epochs=4, lr=3e-3, limits=Limits("epoch", epoch=limit))
    assert len(turns) == 12 and learner.count.item() == 12 and same(learner, turns[-1].learner)
    assert halt == Halt("epoch", "kl/stop", pytest.approx(kls[2].item(), rel=1e-5), limit, epoch=3, minibatch=4)
    assert metrics["update/epochs"] == 3


# Stop: rollback


@pytest.mark.parametrize("undone", [1, 3])
def test_rollback_restores_parameters_and_optimiser_and_keeps_the_kl_below_the_limit(problem, play, undone):
    finals = [play(problem(), epochs=e, lr=5e-3)[2]["kl/final"] for e in (1, 2, 3)]
    limit = finals[undone - 1] * 0.99
    assert all(f < limit for f in finals[: undone - 1])
    start = problem()
    learner, halt, metrics, turns = play(start, lr=5e-3, limits=Limits("rollback", batch=limit))
    assert metrics["trace/after"] == pytest.approx(finals[:undone], rel=1e-5)
    before = turns[4 * (undone - 1) - 1].learner if undone > 1 else start.learner
    assert len(turns) == 4 * undone and same(learner, before)
    value = pytest.approx(finals[undone - 1])
    assert halt == Halt("rollback", "kl/exact", value, limit, epoch=undone, minibatch=4, undone=True)
    assert metrics["kl/final"] <= limit and metrics["update/steps"] == 4 * (undone - 1)
    assert metrics["update/epochs"] == undone - 1


# Non-finite


@pytest.mark.parametrize(
    ("field", "number"), [("advantage", math.nan), ("obs", math.nan), ("target", math.inf), ("action", math.nan)]
)
@pytest.mark.parametrize("normalise", [norm.none, norm.minibatch, norm.group, norm.robust], ids=lambda f: f.__name__)
def test_one_non_finite_sample_stops_the_update_before_it_harms(problem, play, field, number, normalise):
    """NaN advantage, NaN observation, infinite reward: the update ends at the minibatch that holds the sample."""
    start = problem()
    before = copy.deepcopy(start.learner)
    getattr(start.batch, field)[3] = number
    learner, halt, metrics, turns = play(start, size=64, normalise=normalise)
    assert halt.reason == "nonfinite" and len(turns) == 1 and metrics["update/steps"] == 0
    assert metrics["guard/nonfinite"] == (field in ("obs", "action"))  # whose log-ratio it spoils
    assert same(learner, before)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_masked_out_may_be_anything(problem, play, number):
    """0 x NaN is NaN: a weight of 0 would not be enough."""
    results = []
    for spoil in (False, True):
        start = problem()
        start.batch.mask[3] = False
        if spoil:
            for name in ("obs", "action", "value", "target", "advantage"):
                getattr(start.batch, name)[3] = number
            start.batch.policy.mean[3] = start.batch.policy.log_std[3] = number
        learner, halt, metrics, _ = play(start)
        assert halt is None
        results.append((learner, metrics))
    (clean, metrics), (spoilt, metrics_too) = results
    assert same(clean, spoilt) and metrics == metrics_too


def test_a_non_finite_sample_in_a_later_minibatch_keeps_the_steps_before_it(problem, play):
    start = problem()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    start.batch.obs[order[40]] = math.nan  # the third of four minibatches
    learner, halt, _, turns = play(start)
    assert (halt.epoch, halt.minibatch) == (1, 3) and same(learner, turns[1].learner) and learner.count.item() == 2
    assert torch.isfinite(learner.params).all()


def test_with_rollback_no_step_of_an_epoch_with_a_non_finite_sample_is_kept(problem, play):
    """The steps before it went some way that no stop looks at: with a limit of 0 the epoch would have been undone."""
    start, before = problem(), problem().learner
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    start.batch.obs[order[40]] = math.nan  # the third of four minibatches
    learner, halt, metrics, _ = play(start, limits=Limits("rollback", batch=0.0))
    assert (halt.reason, halt.epoch, halt.minibatch) == ("nonfinite", 1, 3)
    assert same(learner, before) and metrics["update/steps"] == 0 and metrics["update/epochs"] == 0


def test_a_whole_epoch_with_a_nan_kl_counts_as_too_large(problem, play):
    """A limit compared by `kl > limit` would let NaN through."""
    _, halt, _, _ = play(problem(), limits=Limits("epoch", epoch=math.nan))
    assert halt.reason == "epoch"
    learner, halt, _, _ = play(problem(), limits=Limits("rollback", batch=-1.0))
    assert halt.reason == "rollback" and same(learner, problem().learner)


def test_an_epoch_after_which_the_kl_is_nan_is_undone(problem, numbers, make_loss):
    """Every minibatch was fine before its step; the last step is the one that nothing else looks at."""
    _, evaluate, learner, batch = problem()
    nan = torch.tensor(math.nan)
    lost = Measured(kl=nan, reverse=nan, chosen=nan, reference=None, parts={})
    bound = bind(evaluate, make_loss(), limits=Limits("rollback", batch=1.0), epochs=2)
    bound = bound._replace(measure=lambda params, batch: lost)
    after, halt, _ = update(bound, learner, batch, numbers(), torch.Generator())
    assert halt.reason == "rollback" and halt.epoch == 1 and same(after, learner)


def test_explained_variance_and_sign_flips_of_known_numbers(problem, play):
    """A prediction of half the target leaves a quarter of the variance; of the advantages 1..64 those below the mean
    change sign."""
    start, target = problem(64), torch.arange(64.0)
    batch = start.batch._replace(target=target, value=target / 2, advantage=target + 1)
    metrics = play(start._replace(batch=batch), epochs=1, normalise=norm.global_)[2]
    assert metrics["value/explained_variance"] == pytest.approx(1 - 0.25)
    assert metrics["advantage/sign_flip"] == pytest.approx(0.5)
    assert metrics["advantage/mean"] == 32.5 and metrics["advantage/max_abs"] == 64


def test_advantages_that_are_zeroed_and_gradients_that_are_clipped_are_counted(problem, play):
    """Sixteen groups of one, whose advantage was 0 in one of them before; of four gradients one is too long."""
    start = problem(64)
    batch = start.batch._replace(group=torch.arange(64).clamp(max=16))
    batch.advantage[0] = 0.0
    start, still = start._replace(batch=batch), {"epochs": 1, "lr": 0.0, "normalise": norm.group}
    *_, third, longest = sorted(turn.metrics["grad/norm"] for turn in play(start, **still)[3])
    metrics = play(start, **still, max_grad_norm=(third + longest) / 2)[2]
    assert metrics["advantage/zeroed"] == 15 / 64
    assert third < longest and metrics["grad/clipped"] == 1 / 4


def test_where_an_update_stops_does_not_decide_what_is_drawn_after_it(problem, numbers, make_loss):
    """Else the next rollout would depend on a rule that was meant to stop this update alone."""
    states = []
    for limits in (NO_LIMITS, Limits("minibatch", step=1e-9)):
        _, evaluate, learner, batch = problem(64, moved=0.1)
        generator = torch.Generator().manual_seed(0)
        bound = bind(evaluate, make_loss(), limits=limits)
        _, halt, _ = update(bound, learner, batch, numbers(limit=limits.step), generator)
        states.append((halt, generator.get_state()))
    assert states[0][0] is None and states[1][0] is not None
    assert torch.equal(states[0][1], states[1][1])


def test_a_minibatch_without_a_sample_is_no_step_of_zeros(problem, play):
    """Nothing is learned from it, not even by momentum, and it enters no mean: not of the metrics, nor of what a stop reads."""
    start = problem(64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(64, dtype=torch.bool)
    mask[order[16:32]] = False  # the second minibatch of the first epoch
    masked = start._replace(batch=start.batch._replace(mask=mask))
    _, _, metrics, turns = play(masked, epochs=1, lr=1e-2)
    assert torch.equal(turns[1].learner.params, turns[0].learner.params)
    assert not torch.equal(turns[2].learner.params, turns[1].learner.params)
    assert metrics["update/steps"] == 4 and math.isfinite(metrics["ratio/ess"])
    names = [*turns[0].metrics]
    known = [turns[i].metrics for i in (0, 2, 3)]
    for name in ("kl/exact", "policy/entropy", "clip/fraction", "ratio/ess"):
        assert metrics[name] == pytest.approx(sum(float(row[name]) for row in known) / 3), names
    limit = 0.99 * metrics["kl/exact"]
    _, halt, _, _ = play(masked, epochs=2, limits=Limits("epoch", epoch=limit), lr=1e-2)
    assert halt.epoch == 1 and halt.value == pytest.approx(metrics["kl/exact"])


@pytest.mark.parametrize("rule", ["epoch", "batch"])
def test_idle_steps_leave_no_trace(problem, numbers, make_loss, monkeypatch, rule):
    """On a device the steps after a stop run as no-ops; what is told, and what the normaliser keeps, are the same."""
    _, evaluate, learner, batch = problem(64)
    seen = []

    def ema(advantage, group, mask, last):
        seen.append(len(seen))
        return advantage, torch.tensor(float(len(seen)))

    bound = bind(evaluate, make_loss(), limits=Limits("rule", **{rule: 1e-9}), normalise=ema, epochs=3)
    told = []
    for early in (True, False):
        seen.clear()
        monkeypatch.setattr(subject, "_looks_for_nothing", lambda x, early=early: early)
        _, halt, metrics = update(bound, learner, batch, numbers(lr=1e-2), torch.Generator().manual_seed(5))
        told.append((halt, {k: v for k, v in metrics.items() if k.startswith(("trace", "update", "advantage", "kl"))}))
    assert len(seen) == 3 and repr(told[0]) == repr(told[1])
