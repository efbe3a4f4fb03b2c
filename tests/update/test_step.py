"""The gradient step: its gradient, its guards, its metrics."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.config.options import option
from ppo.loss import kl, value
from ppo.loss.terms import Term, entropy, penalty
from ppo.network.actor_critic import widen
from ppo.network.flat import build_evaluate, flatten
from ppo.update.optim import Learner, follow_kl
from ppo.update.step import GOING, LIMIT, NONFINITE, build_step
from ppo.update.total import Guards
from tests.update.steps import read, same, turn

ENTROPY, PENALTY = Term("entropy", entropy), penalty(kl.exact)
WEIGHTS = {"entropy": 0.1, "kl": 0.3}


def textbook_loss(module, batch, *, bonus=0.0, brake=0.0):
    """PPO in the words of its paper, with torch.distributions; squared error times 0.5; every mean over the mask."""
    (mean, log_std), prediction = module(batch.obs)
    new = Independent(Normal(mean, log_std.exp()), 1)
    old = Independent(Normal(batch.policy.mean, batch.policy.log_std.exp()), 1)
    ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()
    surrogate = torch.min(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage)
    losses = -surrogate + 0.5 * (prediction - batch.target) ** 2
    losses = losses - bonus * new.entropy() + brake * kl_divergence(old, new)
    return losses[batch.mask].mean()


@pytest.mark.parametrize("masked", [0, 27])
@pytest.mark.parametrize(("bonus", "brake"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("max_norm", [math.inf, 0.1])
def test_one_step_equals_autograd_and_torch_adam(problem, numbers, make_loss, masked, bonus, brake, max_norm):
    module, evaluate, learner, batch = problem(64, moved=0.1, dtype=torch.float64)
    batch.mask[:masked] = False
    chosen = make_loss(terms=tuple(term for term, weight in ((ENTROPY, bonus), (PENALTY, brake)) if weight > 0))
    knobs = numbers(torch.float64, coef={"entropy": bonus, "kl": brake}, max_grad_norm=max_norm)
    learner, metrics = turn(build_step(evaluate, chosen, Guards()), learner, batch, knobs)

    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, eps=1e-5)
    loss = textbook_loss(module, batch, bonus=bonus, brake=brake)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    optimiser.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(learner.params, expected, rtol=0, atol=1e-9)
    assert metrics["loss/total"] == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["grad/norm"] == pytest.approx(norm.item(), rel=1e-5)
    assert metrics["taken"] == 1


LOSSES = [
    (option("objective", aim, **options), option("value", critic, **critics))
    for aim, options, critic, critics in (
        ("ppo", {}, "mse", {}),
        ("ppo", {"dual": 1.5}, "huber", {}),
        ("spo", {}, "clipped", {}),
        ("truly", {}, "huber", {}),
        ("none", {}, "quantile", {"quantiles": 4}),
    )
]


@pytest.mark.parametrize("masked", [0, 27])
@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize(("aim", "critic"), LOSSES)
def test_micro_batches_give_the_step_of_one_batch(problem, numbers, make_loss, parts, masked, aim, critic):
    """The masked samples are the first ones: some micro-batches have none left, others all."""
    _, evaluate, learner, batch = problem(64, moved=0.1, dtype=torch.float64)
    batch.mask[:masked] = False
    if critic.func is value.quantile:
        widen(evaluate.network, 4)
        learner = Learner.start(flatten(evaluate.network))
        evaluate = build_evaluate(evaluate.network)
    batch = batch._replace(noise=0.3 * torch.sin(7 * batch.action))
    knobs = numbers(torch.float64, coef=WEIGHTS)
    chosen = make_loss(objective=aim, value=critic, noise=True, terms=(ENTROPY, PENALTY))
    whole, metrics = turn(build_step(evaluate, chosen, Guards()), learner, batch, knobs)
    split, same_metrics = turn(build_step(evaluate, chosen, Guards(), micro_batches=parts), learner, batch, knobs)
    torch.testing.assert_close(split.params, whole.params, rtol=0, atol=1e-12)
    assert list(same_metrics) == list(metrics)
    torch.testing.assert_close(*(torch.tensor(list(x.values())) for x in (same_metrics, metrics)))


def test_the_old_policy_is_the_one_in_the_batch_whatever_the_parameters(problem, numbers, make_loss):
    """Moving the learner moves the KL; the same batch at the behaviour policy's own parameters has KL and ratio 0 and 1."""
    for moved in (0.0, 0.2):
        _, evaluate, learner, batch = problem(moved=moved)
        _, metrics = turn(build_step(evaluate, make_loss(), Guards()), learner, batch, numbers())
        assert (metrics["kl/exact"] > 0.01) == (moved > 0)
        if not moved:
            for name in ("kl/stop", "kl/exact", "kl/reverse", "kl/k1", "kl/k3", "max_log_ratio", "clip/fraction"):
                assert abs(metrics[name]) <= 1e-6, name
            assert metrics["ratio/min"] == metrics["ratio/max"] == pytest.approx(1, abs=1e-6)
            assert metrics["ratio/ess"] == pytest.approx(1, abs=1e-6)


def test_metrics_equal_what_torch_distributions_says(problem, numbers, make_loss):
    module, evaluate, learner, batch = problem(64, moved=0.15)
    batch.mask[5:9] = False
    _, metrics = turn(build_step(evaluate, make_loss(kl=kl.k3), Guards()), learner, batch, numbers())
    with torch.no_grad():
        mean, log_std = module.policy(batch.obs)
    new = Independent(Normal(mean, log_std.exp()), 1)
    old = Independent(Normal(batch.policy.mean, batch.policy.log_std.exp()), 1)
    log_ratio = (new.log_prob(batch.action) - old.log_prob(batch.action))[batch.mask]
    ratio = log_ratio.exp()
    expected = {
        "kl/exact": kl_divergence(old, new)[batch.mask].mean(),
        "kl/reverse": kl_divergence(new, old)[batch.mask].mean(),
        "kl/k1": -log_ratio.mean(),
        "kl/k3": (ratio - 1 - log_ratio).mean(),
        "kl/stop": (ratio - 1 - log_ratio).mean(),
        "clip/fraction": ((ratio - 1).abs() > 0.2).float().mean(),
        "ratio/max": ratio.max(),
        "ratio/min": ratio.min(),
        "ratio/ess": ratio.mean() ** 2 / (ratio**2).mean(),
        "max_log_ratio": log_ratio.abs().max(),
        "policy/entropy": new.entropy().mean(),
    }
    for name, number in expected.items():
        assert metrics[name] == pytest.approx(number.item(), rel=1e-4, abs=1e-6), name


def test_masked_samples_have_no_influence_at_all(problem, numbers, make_loss):
    """Whatever they hold, the step and its metrics are bitwise the same: their gradient is exactly zero."""
    _, evaluate, learner, batch = problem(moved=0.1)
    batch.mask[::3] = False
    step = build_step(evaluate, make_loss(terms=(ENTROPY, PENALTY)), Guards())
    wild = tree_map(lambda x: x.clone(), batch)
    for x in (wild.obs, wild.action, wild.advantage, wild.target, wild.value, wild.policy.mean):
        x[::3] = 1e3
    one, metrics = turn(step, learner, batch, numbers(coef=WEIGHTS))
    two, wild_metrics = turn(step, learner, wild, numbers(coef=WEIGHTS))
    assert same(one, two) and metrics == wild_metrics


def test_a_masked_sample_stops_no_update(problem, numbers, make_loss):
    """Even where its log-ratio is infinite."""
    _, evaluate, learner, batch = problem()
    batch.policy.mean[1], batch.mask[1] = 1e30, False
    _, metrics = turn(build_step(evaluate, make_loss(kl=kl.k1), Guards()), learner, batch, numbers())
    assert metrics["taken"] == 1


# Guards


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("estimator", ["exact", "k2", "k3"])
@pytest.mark.parametrize(
    "more", [{}, {"noise": True}, {"project": lambda old, new: new}], ids=["plain", "rpo", "project"]
)
def test_a_log_ratio_of_a_thousand_leaves_loss_and_gradient_finite(problem, numbers, make_loss, sign, estimator, more):
    """Old and new mean 31.6 sigma apart in both dimensions, the action at the one or at the other."""
    _, evaluate, learner, batch = problem()
    batch = batch._replace(noise=torch.zeros_like(batch.action))
    here = batch.policy.mean[:3].clone()
    there = here + 1000**0.5 * batch.policy.log_std[:3].exp()
    batch.policy.mean[:3], batch.action[:3] = there, here if sign > 0 else there
    chosen = getattr(kl, estimator)
    step = build_step(evaluate, make_loss(kl=chosen, terms=(penalty(chosen),), **more), Guards())
    after, metrics = turn(step, learner, batch, numbers(coef={"kl": 0.1}))
    assert metrics["taken"] == 1 and all(map(math.isfinite, metrics.values())) and torch.isfinite(after.params).all()
    assert metrics["guard/clamped"] == metrics["guard/warned"] == metrics["guard/extreme"] == 3
    assert metrics["max_log_ratio"] == pytest.approx(1e3, rel=0.01)
    # Objective and penalty read the same clamped log-ratio as the stop.
    parts = metrics["loss/policy"] + 0.5 * metrics["loss/value"] + 0.1 * metrics["kl/stop"]
    assert metrics["loss/total"] == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_guard_counts_beyond_its_own_bound(problem, numbers, make_loss, sign):
    """Old and new mean d sigma apart in one dimension, the action at either: the log-ratio is +-d^2 / 2."""
    _, evaluate, learner, batch = problem()
    log_ratio = torch.tensor([4.0, 4.7, 6.0, 9.0, 11.0])  # log 100 = 4.605
    here = batch.policy.mean[:5].clone()
    there = here.clone()
    there[:, 0] += (2 * log_ratio).sqrt() * batch.policy.log_std[:5, 0].exp()
    batch.policy.mean[:5], batch.action[:5] = there, here if sign > 0 else there
    _, metrics = turn(build_step(evaluate, make_loss(), Guards()), learner, batch, numbers())
    counts = [metrics[f"guard/{name}"] for name in ("extreme", "warned", "clamped", "nonfinite")]
    assert counts == [4, 3, 1, 0]


def test_with_nothing_clamped_the_clamp_changes_no_bit(problem, numbers, make_loss):
    _, evaluate, learner, batch = problem(moved=0.1)
    (one, metrics), (two, same_metrics) = (
        turn(build_step(evaluate, make_loss(), Guards(clamp=clamp)), learner, batch, numbers())
        for clamp in (10.0, 80.0)
    )
    assert metrics["guard/clamped"] == 0
    assert same(one, two) and metrics == same_metrics


def spoil(field, number):
    def change(batch):
        getattr(batch, field)[1] = number

    return change


def infinite_kl(batch):
    batch.policy.log_std[1] = 100.0  # sigma ratio e^200 in variance: beyond float32


@pytest.mark.parametrize(
    "change",
    [
        spoil("advantage", math.nan),
        spoil("advantage", math.inf),
        spoil("obs", math.nan),
        spoil("action", math.inf),
        spoil("target", math.inf),
        spoil("target", 1e30),  # finite, its square is not
        infinite_kl,
    ],
)
def test_anything_non_finite_leaves_parameters_and_moments_as_they_were(problem, numbers, make_loss, change):
    _, evaluate, learner, batch = problem(moved=0.1)
    learner = learner._replace(m=torch.full_like(learner.m, 0.1), v=torch.full_like(learner.v, 0.1))
    change(batch)
    after, metrics = turn(build_step(evaluate, make_loss(), Guards()), learner, batch, numbers())
    assert same(after, learner) and after.stopped == NONFINITE and metrics["taken"] == 0


def test_an_infinite_log_ratio_is_not_hidden_by_its_clamp(problem, numbers, make_loss):
    """Clamped it is finite, has no gradient, and a sampled KL that reads it is finite too."""
    _, evaluate, learner, batch = problem()
    batch.policy.mean[1] = 1e30
    after, metrics = turn(build_step(evaluate, make_loss(kl=kl.k1), Guards()), learner, batch, numbers())
    assert math.isfinite(metrics["loss/total"]) and math.isfinite(metrics["kl/stop"])
    assert same(after, learner) and after.stopped == NONFINITE and metrics["guard/nonfinite"] == 1


def test_a_gradient_that_is_nan_though_the_loss_is_not_stops_too(problem, numbers, make_loss):
    """The square root of 0 is finite, its derivative is not."""
    rooted = make_loss(value=lambda prediction, target, old: (prediction - prediction.detach()).abs().sqrt())
    _, evaluate, learner, batch = problem()
    after, metrics = turn(build_step(evaluate, rooted, Guards()), learner, batch, numbers())
    assert math.isfinite(metrics["loss/total"])
    assert same(after, learner) and after.stopped == NONFINITE


def test_a_loss_that_is_infinite_though_its_gradient_is_not_stops_too(problem, numbers, make_loss):
    _, evaluate, learner, batch = problem()
    constant = make_loss(value=lambda prediction, target, old: 0 * prediction + math.inf)
    after, metrics = turn(build_step(evaluate, constant, Guards()), learner, batch, numbers())
    assert math.isfinite(metrics["grad/norm"])
    assert same(after, learner) and after.stopped == NONFINITE


def test_a_step_that_would_end_at_infinite_parameters_is_refused(problem, numbers, make_loss):
    """Loss and gradient are finite; lr / (1 - beta1) is beyond float32."""
    _, evaluate, learner, batch = problem()
    after, metrics = turn(build_step(evaluate, make_loss(), Guards()), learner, batch, numbers(lr=1e38))
    assert math.isfinite(metrics["loss/total"]) and math.isfinite(metrics["grad/norm"])
    assert same(after, learner) and after.stopped == NONFINITE


def test_a_gradient_too_long_to_be_measured_stops_too(problem, numbers, make_loss):
    """Its entries are finite, its length is not: clipping would quietly make it 0."""
    _, evaluate, learner, batch = problem()
    batch.target.fill_(1.5e19)
    after, metrics = turn(build_step(evaluate, make_loss(), Guards()), learner, batch, numbers(max_grad_norm=0.5))
    assert math.isfinite(metrics["loss/total"]) and metrics["grad/norm"] == math.inf
    assert same(after, learner) and after.stopped == NONFINITE


def test_a_kl_above_the_limit_refuses_the_step_and_every_later_one(problem, numbers, make_loss):
    _, evaluate, learner, batch = problem(moved=0.2)
    step = build_step(evaluate, make_loss(), Guards())
    taken, metrics = turn(step, learner, batch, numbers())
    at = metrics["kl/stop"]
    assert not same(taken, learner)
    for limit, refused in ((at * 1.001, False), (at * 0.999, True)):
        after, metrics = turn(step, learner, batch, numbers(limit=limit))
        assert (after.stopped == LIMIT) == same(after, learner) == (metrics["taken"] == 0) == refused
    later, metrics = turn(step, after, batch, numbers())  # no limit any more: a stop lasts until the update is over
    assert same(later, learner) and later.stopped == LIMIT and metrics["taken"] == 0


def test_a_nan_limit_refuses(problem, numbers, make_loss):
    """kl <= nan is False: the gate fails closed."""
    _, evaluate, learner, batch = problem()
    assert build_step(evaluate, make_loss(), Guards())(learner, batch, numbers(limit=math.nan))[0].stopped == LIMIT


# Coefficient 0


def test_a_value_term_of_weight_zero_is_never_called(problem, numbers, make_loss):
    def explode(*_):
        raise AssertionError("called")

    _, evaluate, learner, batch = problem()
    step = build_step(evaluate, make_loss(value=explode, critic=False), Guards())
    assert turn(step, learner, batch, numbers()).metrics["taken"] == 1
    with pytest.raises(AssertionError, match="called"):
        build_step(evaluate, make_loss(value=explode), Guards())(learner, batch, numbers())


def test_a_penalty_of_weight_zero_has_no_gradient_not_even_nan(problem, numbers, make_loss):
    """0 x nan is nan: this estimator is 0 at equality, its derivative there is infinite."""

    def rooted(old, new, log_ratio):
        return (new.mean - old.mean).abs().sum(-1).sqrt()

    _, evaluate, learner, batch = problem()
    for use, taken in ((False, 1), (True, 0)):
        step = build_step(evaluate, make_loss(kl=rooted, terms=(penalty(rooted),) if use else ()), Guards())
        assert turn(step, learner, batch, numbers(coef={"kl": 0.0})).metrics["taken"] == taken


def test_an_unused_entropy_term_ignores_its_coefficient(problem, numbers, make_loss):
    _, evaluate, learner, batch = problem()
    step = build_step(evaluate, make_loss(), Guards())
    assert same(step(learner, batch, numbers(coef={"entropy": math.inf}))[0], step(learner, batch, numbers())[0])


# Bounds of sigma


@pytest.mark.parametrize(("push", "bound"), [(-1.0, -1.0), (1.0, 2.0)])
def test_sigma_stops_at_its_bound_and_can_come_back(problem, numbers, make_loss, push, bound):
    """An entropy coefficient of +-1 is a gradient of -+1 on every log sigma; with lr 0.5 the bound is near."""
    _, evaluate, learner, batch = problem()
    batch = batch._replace(advantage=torch.zeros_like(batch.advantage))
    step = build_step(evaluate, make_loss(critic=False, terms=(ENTROPY,)), Guards())
    at = slice(-2, None) if list(dict(evaluate.network.named_parameters()))[-1] == "log_std" else slice(0, 2)
    for _ in range(40):
        learner, metrics = turn(step, learner, batch, numbers(lr=0.5, coef={"entropy": push}))
    assert (learner.params[at] == bound).all() and metrics["taken"] == 1
    learner = learner._replace(m=torch.zeros_like(learner.m))
    learner, metrics = turn(step, learner, batch, numbers(lr=0.5, coef={"entropy": -push}))
    assert ((learner.params[at] - bound) * push < -0.01).all() and metrics["grad/norm"] > 1


def test_the_clipped_value_loss_reads_the_old_prediction(problem, numbers, make_loss):
    module, evaluate, learner, batch = problem(moved=0.3)
    _, metrics = turn(
        build_step(evaluate, make_loss(value=option("value", "clipped", eps=0.2)), Guards()), learner, batch, numbers()
    )
    with torch.no_grad():
        now = module.value(batch.obs)
    kept = torch.min(torch.max(now, batch.value - 0.2), batch.value + 0.2)
    expected = torch.max((now - batch.target) ** 2, (kept - batch.target) ** 2).mean()
    assert metrics["loss/value"] == pytest.approx(expected.item(), rel=1e-5)


def test_two_seeds_stacked_step_as_each_alone(problem, numbers, make_loss):
    """A leading seed axis through torch.func.vmap; the second seed is refused by its own limit."""
    one, two = problem(moved=0.1, seed=1), problem(moved=0.3, seed=2)
    step = build_step(one.evaluate, make_loss(), Guards())
    alone = [step(p.learner, p.batch, numbers(limit=0.1)) for p in (one, two)]
    learners, batches = (
        tree_map(lambda *x: torch.stack(x), getattr(one, f), getattr(two, f)) for f in ("learner", "batch")
    )
    stacked, rows = torch.func.vmap(step, in_dims=(0, 0, None))(learners, batches, numbers(limit=0.1))
    assert [learner.stopped.item() for learner, _ in alone] == stacked.stopped.tolist() == [0, 1]
    for i, (learner, row) in enumerate(alone):
        torch.testing.assert_close(stacked.params[i], learner.params)
        torch.testing.assert_close(rows[i], row)


# What a step is made of: names, terms, stop rules, estimators


def test_a_row_has_a_number_for_every_name_and_no_other(problem, numbers, make_loss):
    """Whatever the loss is made of: the names are those of this step."""
    _, evaluate, learner, batch = problem(moved=0.1)
    for terms in ((), (ENTROPY,), (ENTROPY, PENALTY)):
        step = build_step(evaluate, make_loss(terms=terms), Guards())
        _, row = step(learner, batch, numbers(coef=WEIGHTS))
        assert row.shape == (len(step.reduce),) and len(set(step.reduce)) == len(step.reduce)
        own = [name for name in step.reduce if name in ("loss/entropy", "loss/kl")]
        assert own == [term.logged for term in terms]
        found = read(step, row)
        parts = found["loss/policy"] + 0.5 * found["loss/value"] + sum(WEIGHTS[t.name] * found[t.logged] for t in terms)
        assert found["loss/total"] == pytest.approx(parts, rel=1e-5)


def test_a_term_of_ones_own_adds_its_weight_times_its_mean_and_is_logged(problem, numbers, make_loss):
    """Of the samples that count; it sees the network at this step's parameters, and is differentiated."""
    _, evaluate, learner, batch = problem(moved=0.1)
    batch.mask[::4] = False
    own = Term("magnitude", lambda at: at.evaluate(at.batch)[0].mean.square().sum(-1) + at.policy.log_std.sum(-1))
    with_it, without = (build_step(evaluate, make_loss(terms=terms), Guards()) for terms in ((own,), ()))
    after, metrics = turn(with_it, learner, batch, numbers(coef={"magnitude": 0.3}))
    plain, plain_metrics = turn(without, learner, batch, numbers())
    policy = evaluate.policy(learner.params, batch)
    expected = (policy.mean.square().sum(-1) + policy.log_std.sum(-1))[batch.mask].mean().item()
    assert metrics.keys() - plain_metrics.keys() == {"loss/magnitude"}
    assert metrics["loss/magnitude"] == pytest.approx(expected, rel=1e-5)
    assert metrics["loss/total"] - plain_metrics["loss/total"] == pytest.approx(0.3 * expected, rel=1e-4)
    assert metrics["grad/norm"] != pytest.approx(plain_metrics["grad/norm"], rel=1e-3) and not same(after, plain)


@pytest.mark.parametrize("watch", ["clip/fraction", "ratio/max", "loss/value", "kl/k2"])
def test_any_metric_of_a_step_can_be_the_one_that_is_limited(problem, numbers, make_loss, watch):
    _, evaluate, learner, batch = problem(moved=0.3)
    step = build_step(evaluate, make_loss(), Guards(), watch=watch)
    at = turn(step, learner, batch, numbers()).metrics[watch]
    assert at > 0.01
    for limit, verdict in ((at * 1.001, GOING), (at * 0.999, LIMIT), (math.nan, LIMIT)):
        after, metrics = turn(step, learner, batch, numbers(limit=limit))
        assert after.stopped == verdict and metrics["taken"] == (verdict == GOING) and metrics[watch] == at


def test_a_limit_on_what_no_step_measures_is_refused(problem, make_loss):
    with pytest.raises(ValueError, match=r"'kl/k9' is no metric of a step; there are .*kl/k3"):
        build_step(problem().evaluate, make_loss(), Guards(), watch="kl/k9")


def test_a_rate_that_moves_at_every_step_is_that_of_the_step_and_can_only_fall_where_one_is_refused(
    problem, numbers, make_loss
):
    """The KL is far above the target: the step is that of 2e-3 / 1.5, whatever the knobs say. A rate that a refused step
    left as it is would be too high for ever where one step jumps from below the target to beyond the limit."""
    _, evaluate, learner, batch = problem(64, moved=0.3)
    rule = partial(follow_kl, target=1e-3, tolerance=2.0, factor=1.5, min=1e-5, max=1e-2)
    step = build_step(evaluate, make_loss(), Guards(), rate=rule)
    start = learner._replace(lr=torch.tensor(2e-3))
    after = step(start, batch, numbers(lr=1.0))[0]
    expected = build_step(evaluate, make_loss(), Guards())(learner, batch, numbers(lr=2e-3 / 1.5))[0]
    torch.testing.assert_close(after.params, expected.params, rtol=0, atol=1e-7)
    assert after.lr.item() == pytest.approx(2e-3 / 1.5)
    refused = step(start, batch, numbers(limit=1e-6))[0]
    assert refused.stopped == LIMIT and same(refused, learner) and refused.lr.item() == pytest.approx(2e-3 / 1.5)
    idle = step(refused, batch, numbers(limit=1e-6))[0]
    assert idle.lr == refused.lr
    rising = build_step(evaluate, make_loss(), Guards(), rate=partial(rule, target=1e3))
    assert rising(start, batch, numbers())[0].lr.item() == pytest.approx(3e-3)
    assert rising(start, batch, numbers(limit=1e-6))[0].lr.item() == pytest.approx(2e-3)
