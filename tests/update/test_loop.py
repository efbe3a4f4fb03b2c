"""A whole update: against a textbook loop, and where and how it ends."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.control.stop import Limits
from ppo.loss import kl, norm
from ppo.network.distributions import Gaussian
from ppo.update.loop import run_epochs, update
from ppo.update.measure import Measured, build_measure
from ppo.update.natural import build_natural_step
from ppo.update.report import OffPolicyError, check_on_policy, measured_metrics
from ppo.update.step import FAMILY, METRICS, Guards, build_loss, build_step

TAKEN, STOP = METRICS.index("taken"), METRICS.index("kl/stop")
NO_LIMITS = Limits()


@pytest.fixture
def play(numbers, terms):
    """Run an update of K = 4 minibatches of 16 an epoch; returns (learner, halt, metrics, every step's (learner, row))."""

    def run(problem, *, epochs=3, limits=NO_LIMITS, normalise=norm.none, micro_batches=1, size=16, **changes):
        _, network, learner, batch = problem
        chosen = terms(use_entropy=changes.get("entropy", 0) > 0, use_kl=changes.get("kl", 0) > 0)
        step, calls = build_step(network, chosen, Guards(), micro_batches=micro_batches), []

        def watched(*inputs):
            calls.append(step(*inputs))
            return calls[-1]

        knobs = numbers(batch.obs.dtype, kl_limit=limits.minibatch, ratio_limit=limits.ratio, **changes)
        measure = build_measure(network, chosen.kl, clamp=10.0)
        g = torch.Generator().manual_seed(5)
        out = update(watched, measure, learner, batch, knobs, limits, normalise, g, epochs=epochs, minibatch_size=size)
        return *out, calls

    return run


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def test_an_update_equals_a_textbook_ppo_loop(problem, play):
    """Autograd, torch.optim.Adam and torch.distributions, minibatch by minibatch; the same order of samples."""
    start = problem(64, dtype=torch.float64)
    module, batch, g = start.module, start.batch, torch.Generator().manual_seed(5)
    learner, halt, metrics, _ = play(
        start, epochs=5, normalise=norm.minibatch, lr=1e-2, max_grad_norm=0.5, entropy=0.01, kl=0.1
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
    _, network, before, batch = problem()
    measure = build_measure(network, lambda old, new, log_ratio: new.kl(old), clamp=10.0)
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
    _, _, metrics, calls = play(start, lr=1e-2)
    assert metrics["check/first_log_ratio"] == calls[0][1][METRICS.index("max_log_ratio")].item() > 0.1
    family = [calls[0][1][METRICS.index(f"kl/{name}")].item() for name in FAMILY]
    assert abs(metrics["check/first_kl"]) == max(map(abs, family)) > 1e-3


@pytest.mark.parametrize("found", [1e-2, math.nan])
def test_a_first_minibatch_off_policy_is_an_error(found):
    fine = {"check/first_log_ratio": 1e-4, "check/first_kl": 0.0, "check/acting": 1e-4}
    check_on_policy(fine, limit=1e-3)
    for name in ("check/first_log_ratio", "check/acting"):
        with pytest.raises(OffPolicyError, match="log ratio"):
            check_on_policy(fine | {name: found}, limit=1e-3)


def test_guards_are_counted_over_all_steps(problem, play):
    """Two epochs of four minibatches of 16; in every one of them all log-ratios are beyond all bounds."""
    start = problem()
    start.batch.policy.mean.add_(40.0)
    metrics = play(start, epochs=2, lr=0.0)[2]
    assert [metrics[f"guard/{name}"] for name in ("clamped", "warned", "extreme", "nonfinite")] == [128, 128, 128, 0]


def test_the_final_kl_of_a_sampled_estimator_is_clamped_too(problem):
    """e^r of a log-ratio of a thousand is infinite: lr=adaptive_kl would read nothing else."""
    _, network, learner, batch = problem()
    batch.policy.mean[:3] += 1000**0.5 * batch.policy.log_std[:3].exp()
    batch.action[:3] = batch.policy.mean[:3] - 1000**0.5 * batch.policy.log_std[:3].exp()
    measured = build_measure(network, kl.k3, clamp=10.0)(learner.params, batch)
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
    kls = [row[STOP].item() for _, row in free[3]]
    k = max(range(12), key=kls.__getitem__)  # counts from 0
    limit = kls[k] * 0.999
    assert max(kls[:k]) < limit and 4 <= k < 11
    learner, halt, metrics, calls = play(problem(), lr=1e-2, limits=Limits(minibatch=limit))
    assert [row[TAKEN].item() for _, row in calls] == [1] * k + [0]
    assert same(learner, calls[k - 1][0]) and same(learner, free[3][k - 1][0]) and learner.count.item() == k
    assert halt == ("minibatch", pytest.approx(kls[k]), limit, k // 4 + 1, k % 4 + 1)
    assert metrics["update/steps"] == k and metrics["update/planned"] == 12 and metrics["update/stop"] == "minibatch"


def test_means_cover_the_steps_taken_and_not_the_refused_one(problem, play):
    kls = [row[STOP].item() for _, row in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=kls.__getitem__)
    _, _, metrics, calls = play(problem(), lr=1e-2, limits=Limits(minibatch=kls[k] * 0.999))
    assert len(calls) == k + 1 and metrics["kl/exact"] == pytest.approx(sum(kls[:k]) / k, rel=1e-5)
    assert metrics["ratio/max"] == max(row[METRICS.index("ratio/max")].item() for _, row in calls[:k])


def test_where_nothing_stops_at_once_the_rest_of_an_epoch_are_no_ops(problem, numbers, terms):
    """What a device does that is not read back in between: later steps change nothing, and count as not taken."""
    _, network, learner, batch = problem(moved=0.2)
    step = build_step(network, terms(), Guards())
    learner, _ = step(learner, batch, numbers(kl_limit=1e-9))
    for _ in range(3):
        after, row = step(learner, batch, numbers())
        assert same(after, learner) and row[TAKEN] == 0


@pytest.mark.parametrize("name", ["none", "minibatch", "global_", "group", "robust", "ema"])
def test_an_update_reads_nothing_back_from_its_device(problem, numbers, terms, name):
    """The meta device computes shapes only: whatever asks it for a number is an error."""
    _, network, learner, batch = problem(64)
    network = network.to("meta")
    step, measure = build_step(network, terms(), Guards()), build_measure(network, kl.exact, clamp=10.0)
    learner, batch, knobs = (tree_map(lambda x: x.to("meta"), tree) for tree in (learner, batch, numbers()))
    arguments = (learner, batch, knobs, Limits(0.01, 0.02, 0.03, 0.2), getattr(norm, name), torch.Generator())
    learner, trace = run_epochs(step, measure, *arguments, epochs=2, minibatch_size=16)
    assert [len(x) for x in trace[:3]] == [8, 2, 2]
    loss = build_loss(network, terms(use_value=False), Guards())
    build_natural_step(network, loss, 0.01, cg_steps=2, damping=0.1, backtracks=2, shrink=0.5)(
        learner, trace.minibatches, knobs
    )


# RPO


def test_rpo_moves_the_mean_in_the_objective_and_nothing_else(problem, numbers, terms):
    """The ratio is N(a; mean + z) / N(a; old mean); KL, log-ratio and guards stay those of the policy itself."""
    module, network, learner, batch = problem(moved=0.1, dtype=torch.float64)
    noise = torch.rand(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    plain, quiet = (build_step(network, terms(use_noise=use), Guards()) for use in (True, False))
    _, row = plain(learner, batch._replace(noise=noise), numbers(torch.float64))
    (mean, log_std), _ = module(batch.obs)
    new, old = (Independent(Normal(m, s.exp()), 1) for m, s in ((mean + noise, log_std), batch.policy))
    ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()
    expected = torch.min(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage).mean().item()
    assert row[METRICS.index("loss/policy")].item() == pytest.approx(-expected, rel=1e-5)
    _, other = quiet(learner, batch, numbers(torch.float64))
    same_ones = [i for i, name in enumerate(METRICS) if name.split("/")[0] not in ("loss", "grad")]
    assert torch.equal(row[same_ones], other[same_ones])


def test_rpo_draws_within_its_width_anew_each_epoch_and_the_same_under_the_same_seed(problem, numbers, terms):
    def noises(seed):
        _, network, learner, batch = problem()
        seen, step = [], build_step(network, terms(use_noise=True), Guards())

        def watched(learner, minibatch, knobs):
            seen.append(minibatch.noise)
            return step(learner, minibatch, knobs)

        measure, g = build_measure(network, kl.exact, clamp=10.0), torch.Generator().manual_seed(seed)
        arguments = (measure, learner, batch, numbers(lr=0.0), NO_LIMITS, norm.none, g)
        metrics = update(watched, *arguments, epochs=2, minibatch_size=16, rpo=0.5)[2]
        assert metrics["check/first_log_ratio"] <= 1e-6 and metrics["kl/final"] == 0
        return torch.cat(seen)

    one, two, other = noises(0), noises(0), noises(1)
    assert torch.equal(one, two) and not torch.equal(one, other) and one.shape == (128, 2)
    assert one.abs().max() <= 0.5 and one.max() > 0.45 and one.min() < -0.45 and abs(one.mean()) < 0.1
    assert len(one.flatten().unique()) == 256


# Stop: ratio


def test_the_ratio_rule_refuses_a_step_where_ratios_have_left_one(problem, play):
    """Mean |ratio - 1| of the minibatch, by torch.distributions' log probabilities, before the step."""
    deviation = METRICS.index("ratio/deviation")
    seen = [row[deviation].item() for _, row in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=seen.__getitem__)
    limit = seen[k] * 0.999
    learner, halt, metrics, calls = play(problem(), lr=1e-2, limits=Limits(ratio=limit))
    assert max(seen[:k]) < limit and [row[TAKEN].item() for _, row in calls] == [1] * k + [0]
    assert same(learner, calls[k - 1][0]) and metrics["update/stop"] == "ratio"
    assert halt == ("ratio", pytest.approx(seen[k]), limit, k // 4 + 1, k % 4 + 1)
    _, network, learner, batch = start = problem(moved=0.1)
    (mean, log_std), _ = start.module(batch.obs)
    ratio = (Gaussian(mean, log_std).log_prob(batch.action) - batch.policy.log_prob(batch.action)).exp()
    assert play(start, epochs=1, size=64)[3][0][1][deviation].item() == pytest.approx((ratio - 1).abs().mean().item())


# The path of the KL


def test_the_trace_says_where_any_limit_is_first_exceeded(problem, play):
    """Of every estimator, for limits at and beside the KLs of the twelve steps; and what each epoch's mean was."""
    _, _, metrics, calls = play(problem(), lr=1e-2)
    for name in FAMILY:
        kls = [row[METRICS.index(f"kl/{name}")].item() for _, row in calls]
        for limit in (x * scale for x in kls if x > 0 for scale in (0.999, 1, 1.001)):
            expected = next((i for i, x in enumerate(kls, start=1) if np.float32(x) > np.float32(limit)), None)
            assert (
                next((step for step, x in metrics[f"trace/{name}"] if np.float32(x) > np.float32(limit)), None)
                == expected
            )
        assert len(metrics[f"trace/{name}"]) < 12
        assert metrics[f"trace/epoch/{name}"] == pytest.approx([sum(kls[i : i + 4]) / 4 for i in (0, 4, 8)], rel=1e-5)
    assert metrics["trace/first"] == pytest.approx([calls[i][1][METRICS.index("kl/exact")].item() for i in (0, 4, 8)])


def test_the_trace_ends_with_the_refused_step(problem, play):
    kls = [row[STOP].item() for _, row in play(problem(), lr=1e-2)[3]]
    k = max(range(12), key=kls.__getitem__)
    metrics = play(problem(), lr=1e-2, limits=Limits(minibatch=kls[k] * 0.999))[2]
    assert metrics["trace/exact"][-1] == [k + 1, pytest.approx(metrics["stop/value"])]
    assert len(metrics["trace/epoch/exact"]) == k // 4 < len(metrics["trace/first"]) and "trace/after" not in metrics


# Stop: epoch


def test_the_epoch_rule_ends_after_the_epoch_whose_mean_kl_was_too_large(problem, play):
    kls = torch.stack([row[STOP] for _, row in play(problem(), epochs=4, lr=3e-3)[3]]).view(4, 4).mean(1)
    limit = (kls[1] + kls[2]).item() / 2
    assert kls[1] < limit < kls[2]
    learner, halt, metrics, calls = play(problem(), epochs=4, lr=3e-3, limits=Limits(epoch=limit))
    assert len(calls) == 12 and learner.count.item() == 12 and same(learner, calls[-1][0])
    assert halt[:3] == ("epoch", pytest.approx(kls[2].item(), rel=1e-5), limit) and halt.epoch == 3
    assert metrics["update/epochs"] == 3


# Stop: rollback


@pytest.mark.parametrize("undone", [1, 3])
def test_rollback_restores_parameters_and_optimiser_and_keeps_the_kl_below_the_limit(problem, play, undone):
    finals = [play(problem(), epochs=e, lr=5e-3)[2]["kl/final"] for e in (1, 2, 3)]
    limit = finals[undone - 1] * 0.99
    assert all(f < limit for f in finals[: undone - 1])
    start = problem()
    learner, halt, metrics, calls = play(start, lr=5e-3, limits=Limits(batch=limit))
    assert metrics["trace/after"] == pytest.approx(finals[:undone], rel=1e-5)
    before = calls[4 * (undone - 1) - 1][0] if undone > 1 else start.learner
    assert len(calls) == 4 * undone and same(learner, before)
    assert halt[:4] == ("rollback", pytest.approx(finals[undone - 1]), limit, undone)
    assert metrics["kl/final"] <= limit and metrics["update/steps"] == 4 * (undone - 1)
    assert metrics["update/epochs"] == undone - 1


# Non-finite


@pytest.mark.parametrize(
    ("field", "number"), [("advantage", math.nan), ("obs", math.nan), ("target", math.inf), ("action", math.nan)]
)
@pytest.mark.parametrize("normalise", [norm.none, norm.minibatch, norm.group, norm.robust])
def test_one_non_finite_sample_stops_the_update_before_it_harms(problem, play, field, number, normalise):
    """NaN advantage, NaN observation, infinite reward: the update ends at the minibatch that holds the sample."""
    start = problem()
    before = copy.deepcopy(start.learner)
    getattr(start.batch, field)[3] = number
    learner, halt, metrics, calls = play(start, size=64, normalise=normalise)
    assert halt.reason == "nonfinite" and len(calls) == 1 and metrics["update/steps"] == 0
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
    learner, halt, _, calls = play(start)
    assert halt[3:] == (1, 3) and same(learner, calls[1][0]) and learner.count.item() == 2
    assert torch.isfinite(learner.params).all()


def test_a_whole_epoch_with_a_nan_kl_counts_as_too_large(problem, play):
    """A limit compared by `kl > limit` would let NaN through."""
    _, halt, _, _ = play(problem(), limits=Limits(epoch=math.nan))
    assert halt.reason == "epoch"
    learner, halt, _, _ = play(problem(), limits=Limits(batch=-1.0))
    assert halt.reason == "rollback" and same(learner, problem().learner)


def test_an_epoch_after_which_the_kl_is_nan_is_undone(problem, numbers, terms):
    """Every minibatch was fine before its step; the last step is the one that nothing else looks at."""
    _, network, learner, batch = problem()
    nan = torch.tensor(math.nan)
    lost = Measured(kl=nan, reverse=nan, chosen=nan, reference=None, parts={})
    step, g = build_step(network, terms(), Guards()), torch.Generator()
    after, halt, _ = update(
        *(step, lambda params, batch: lost, learner, batch, numbers(), Limits(batch=1.0), norm.none, g),
        epochs=2,
        minibatch_size=16,
    )
    assert halt[0] == "rollback" and halt.epoch == 1 and same(after, learner)


def test_explained_variance_and_sign_flips_of_known_numbers(problem, play):
    """A prediction of half the target leaves a quarter of the variance; of the advantages 1..64 those below the mean
    change sign."""
    start, target = problem(64), torch.arange(64.0)
    batch = start.batch._replace(target=target, value=target / 2, advantage=target + 1)
    metrics = play(start._replace(batch=batch), epochs=1, normalise=norm.global_)[2]
    assert metrics["value/explained_variance"] == pytest.approx(1 - 0.25)
    assert metrics["advantage/sign_flip"] == pytest.approx(0.5)
    assert metrics["advantage/mean"] == 32.5 and metrics["advantage/max_abs"] == 64


def test_where_an_update_stops_does_not_decide_what_is_drawn_after_it(problem, numbers, terms):
    """Else the next rollout would depend on a rule that was meant to stop this update alone."""
    states = []
    for limits in (NO_LIMITS, Limits(minibatch=1e-9)):
        _, network, learner, batch = problem(64, moved=0.1)
        generator = torch.Generator().manual_seed(0)
        knobs = numbers(kl_limit=limits.minibatch)
        step, measure = build_step(network, terms(), Guards()), build_measure(network, kl.exact, clamp=10.0)
        _, halt, _ = update(
            step, measure, learner, batch, knobs, limits, norm.none, generator, epochs=3, minibatch_size=16
        )
        states.append((halt, generator.get_state()))
    assert states[0][0] is None and states[1][0] is not None
    assert torch.equal(states[0][1], states[1][1])
