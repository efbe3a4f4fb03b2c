"""The gradient step: its gradient, its guards, its metrics."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.loss import kl, objective, value
from ppo.network.actor_critic import widen
from ppo.network.flat import flatten
from ppo.update.optim import Learner
from ppo.update.step import METRICS, Guards, build_step


def same(a, b) -> bool:
    """Every tensor of two learners bitwise the same, but for the verdict."""
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def metric(row, name) -> float:
    return row[METRICS.index(name)].item()


def textbook_loss(module, batch, *, entropy=0.0, penalty=0.0):
    """PPO in the words of its paper, with torch.distributions; squared error times 0.5; every mean over the mask."""
    (mean, log_std), prediction = module(batch.obs)
    new = Independent(Normal(mean, log_std.exp()), 1)
    old = Independent(Normal(batch.policy.mean, batch.policy.log_std.exp()), 1)
    ratio = (new.log_prob(batch.action) - old.log_prob(batch.action)).exp()
    surrogate = torch.min(ratio * batch.advantage, ratio.clamp(0.8, 1.2) * batch.advantage)
    losses = -surrogate + 0.5 * (prediction - batch.target) ** 2
    losses = losses - entropy * new.entropy() + penalty * kl_divergence(old, new)
    return losses[batch.mask].mean()


@pytest.mark.parametrize("masked", [0, 27])
@pytest.mark.parametrize(("entropy", "penalty"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("max_norm", [math.inf, 0.1])
def test_one_step_equals_autograd_and_torch_adam(problem, numbers, terms, masked, entropy, penalty, max_norm):
    module, network, learner, batch = problem(64, moved=0.1, dtype=torch.float64)
    batch.mask[:masked] = False
    chosen = terms(use_entropy=entropy > 0, use_kl=penalty > 0)
    knobs = numbers(torch.float64, entropy=entropy, kl=penalty, max_grad_norm=max_norm)
    learner, row = build_step(network, chosen, Guards())(learner, batch, knobs)

    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, eps=1e-5)
    loss = textbook_loss(module, batch, entropy=entropy, penalty=penalty)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    optimiser.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(learner.params, expected, rtol=0, atol=1e-9)
    assert metric(row, "loss/total") == pytest.approx(loss.item(), rel=1e-5)
    assert metric(row, "grad/norm") == pytest.approx(norm.item(), rel=1e-5)
    assert metric(row, "taken") == 1


LOSSES = [
    (objective.ppo, value.mse),
    (partial(objective.ppo, dual=1.5), value.huber),
    (objective.spo, value.clipped),
    (objective.truly, value.huber),
    (objective.none, partial(value.quantile, quantiles=4)),
]


@pytest.mark.parametrize("masked", [0, 27])
@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize(("aim", "critic"), LOSSES)
def test_micro_batches_give_the_step_of_one_batch(problem, numbers, terms, parts, masked, aim, critic):
    """The masked samples are the first ones: some micro-batches have none left, others all."""
    _, network, learner, batch = problem(64, moved=0.1, dtype=torch.float64)
    batch.mask[:masked] = False
    if getattr(critic, "func", None) is value.quantile:
        widen(network, 4)
        learner = Learner.start(flatten(network))
    batch = batch._replace(noise=0.3 * torch.sin(7 * batch.action))
    knobs = numbers(torch.float64, entropy=0.1, kl=0.3)
    chosen = terms(objective=aim, value=critic, use_noise=True, use_entropy=True, use_kl=True)
    whole, row = build_step(network, chosen, Guards())(learner, batch, knobs)
    split, split_row = build_step(network, chosen, Guards(), micro_batches=parts)(learner, batch, knobs)
    torch.testing.assert_close(split.params, whole.params, rtol=0, atol=1e-12)
    torch.testing.assert_close(split_row, row)


def test_the_old_policy_is_the_one_in_the_batch_whatever_the_parameters(problem, numbers, terms):
    """Moving the learner moves the KL; the same batch at the behaviour policy's own parameters has KL and ratio 0 and 1."""
    for moved in (0.0, 0.2):
        _, network, learner, batch = problem(moved=moved)
        _, row = build_step(network, terms(), Guards())(learner, batch, numbers())
        assert (metric(row, "kl/exact") > 0.01) == (moved > 0)
        if not moved:
            for name in ("kl/stop", "kl/exact", "kl/reverse", "kl/k1", "kl/k3", "max_log_ratio", "clip/fraction"):
                assert abs(metric(row, name)) <= 1e-6, name
            assert metric(row, "ratio/min") == metric(row, "ratio/max") == pytest.approx(1, abs=1e-6)
            assert metric(row, "ratio/ess") == pytest.approx(1, abs=1e-6)


def test_metrics_equal_what_torch_distributions_says(problem, numbers, terms):
    module, network, learner, batch = problem(64, moved=0.15)
    batch.mask[5:9] = False
    _, row = build_step(network, terms(kl=kl.k3), Guards())(learner, batch, numbers())
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
        assert metric(row, name) == pytest.approx(number.item(), rel=1e-4, abs=1e-6), name


def test_masked_samples_have_no_influence_at_all(problem, numbers, terms):
    """Whatever they hold, the step and its metrics are bitwise the same: their gradient is exactly zero."""
    _, network, learner, batch = problem(moved=0.1)
    batch.mask[::3] = False
    step = build_step(network, terms(use_entropy=True, use_kl=True), Guards())
    wild = tree_map(lambda x: x.clone(), batch)
    for x in (wild.obs, wild.action, wild.advantage, wild.target, wild.value, wild.policy.mean):
        x[::3] = 1e3
    one, one_row = step(learner, batch, numbers(entropy=0.1, kl=0.1))
    two, two_row = step(learner, wild, numbers(entropy=0.1, kl=0.1))
    assert same(one, two) and torch.equal(one_row, two_row)


def test_a_masked_sample_stops_no_update(problem, numbers, terms):
    """Even where its log-ratio is infinite."""
    _, network, learner, batch = problem()
    batch.policy.mean[1], batch.mask[1] = 1e30, False
    _, row = build_step(network, terms(kl=kl.k1), Guards())(learner, batch, numbers())
    assert metric(row, "taken") == 1


# Guards


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("estimator", ["exact", "k2", "k3"])
def test_a_log_ratio_of_a_thousand_leaves_loss_and_gradient_finite(problem, numbers, terms, sign, estimator):
    """Old and new mean 31.6 sigma apart in both dimensions, the action at the one or at the other."""
    _, network, learner, batch = problem()
    here = batch.policy.mean[:3].clone()
    there = here + 1000**0.5 * batch.policy.log_std[:3].exp()
    batch.policy.mean[:3], batch.action[:3] = there, here if sign > 0 else there
    step = build_step(network, terms(kl=getattr(kl, estimator), use_kl=True), Guards())
    after, row = step(learner, batch, numbers(kl=0.1))
    assert metric(row, "taken") == 1 and torch.isfinite(row).all() and torch.isfinite(after.params).all()
    assert metric(row, "guard/clamped") == metric(row, "guard/warned") == metric(row, "guard/extreme") == 3
    assert metric(row, "max_log_ratio") == pytest.approx(1e3, rel=0.01)
    # Objective and penalty read the same clamped log-ratio as the stop.
    parts = metric(row, "loss/policy") + 0.5 * metric(row, "loss/value") + 0.1 * metric(row, "kl/stop")
    assert metric(row, "loss/total") == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_guard_counts_beyond_its_own_bound(problem, numbers, terms, sign):
    """Old and new mean d sigma apart in one dimension, the action at either: the log-ratio is +-d^2 / 2."""
    _, network, learner, batch = problem()
    log_ratio = torch.tensor([4.0, 4.7, 6.0, 9.0, 11.0])  # log 100 = 4.605
    here = batch.policy.mean[:5].clone()
    there = here.clone()
    there[:, 0] += (2 * log_ratio).sqrt() * batch.policy.log_std[:5, 0].exp()
    batch.policy.mean[:5], batch.action[:5] = there, here if sign > 0 else there
    _, row = build_step(network, terms(), Guards())(learner, batch, numbers())
    counts = [metric(row, f"guard/{name}") for name in ("extreme", "warned", "clamped", "nonfinite")]
    assert counts == [4, 3, 1, 0]


def test_with_nothing_clamped_the_clamp_changes_no_bit(problem, numbers, terms):
    _, network, learner, batch = problem(moved=0.1)
    one, one_row = build_step(network, terms(), Guards(clamp=10.0))(learner, batch, numbers())
    two, two_row = build_step(network, terms(), Guards(clamp=80.0))(learner, batch, numbers())
    assert metric(one_row, "guard/clamped") == 0
    assert same(one, two) and torch.equal(one_row, two_row)


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
def test_anything_non_finite_leaves_parameters_and_moments_as_they_were(problem, numbers, terms, change):
    _, network, learner, batch = problem(moved=0.1)
    learner = learner._replace(m=torch.full_like(learner.m, 0.1), v=torch.full_like(learner.v, 0.1))
    change(batch)
    after, row = build_step(network, terms(), Guards())(learner, batch, numbers())
    assert same(after, learner) and after.stopped.item() == 2 and metric(row, "taken") == 0


def test_an_infinite_log_ratio_is_not_hidden_by_its_clamp(problem, numbers, terms):
    """Clamped it is finite, has no gradient, and a sampled KL that reads it is finite too."""
    _, network, learner, batch = problem()
    batch.policy.mean[1] = 1e30
    after, row = build_step(network, terms(kl=kl.k1), Guards())(learner, batch, numbers())
    assert math.isfinite(metric(row, "loss/total")) and math.isfinite(metric(row, "kl/stop"))
    assert same(after, learner) and after.stopped.item() == 2 and metric(row, "guard/nonfinite") == 1


def test_a_gradient_that_is_nan_though_the_loss_is_not_stops_too(problem, numbers, terms):
    """The square root of 0 is finite, its derivative is not."""
    rooted = terms(value=lambda prediction, target, old: (prediction - prediction.detach()).abs().sqrt())
    _, network, learner, batch = problem()
    after, row = build_step(network, rooted, Guards())(learner, batch, numbers())
    assert math.isfinite(metric(row, "loss/total"))
    assert same(after, learner) and after.stopped.item() == 2


def test_a_loss_that_is_infinite_though_its_gradient_is_not_stops_too(problem, numbers, terms):
    _, network, learner, batch = problem()
    constant = terms(value=lambda prediction, target, old: 0 * prediction + math.inf)
    after, row = build_step(network, constant, Guards())(learner, batch, numbers())
    assert math.isfinite(metric(row, "grad/norm"))
    assert same(after, learner) and after.stopped.item() == 2


def test_a_step_that_would_end_at_infinite_parameters_is_refused(problem, numbers, terms):
    """Loss and gradient are finite; lr / (1 - beta1) is beyond float32."""
    _, network, learner, batch = problem()
    after, row = build_step(network, terms(), Guards())(learner, batch, numbers(lr=1e38))
    assert math.isfinite(metric(row, "loss/total")) and math.isfinite(metric(row, "grad/norm"))
    assert same(after, learner) and after.stopped.item() == 2


def test_a_gradient_too_long_to_be_measured_stops_too(problem, numbers, terms):
    """Its entries are finite, its length is not: clipping would quietly make it 0."""
    _, network, learner, batch = problem()
    batch.target.fill_(1.5e19)
    after, row = build_step(network, terms(), Guards())(learner, batch, numbers(max_grad_norm=0.5))
    assert math.isfinite(metric(row, "loss/total")) and metric(row, "grad/norm") == math.inf
    assert same(after, learner) and after.stopped.item() == 2


def test_a_kl_above_the_limit_refuses_the_step_and_every_later_one(problem, numbers, terms):
    _, network, learner, batch = problem(moved=0.2)
    step = build_step(network, terms(), Guards())
    taken, row = step(learner, batch, numbers())
    at = metric(row, "kl/stop")
    assert not same(taken, learner)
    for limit, refused in ((at * 1.001, False), (at * 0.999, True)):
        after, row = step(learner, batch, numbers(kl_limit=limit))
        assert (after.stopped.item() == 1) == same(after, learner) == (metric(row, "taken") == 0) == refused
    later, row = step(after, batch, numbers())  # no limit any more: a stop lasts until the update is over
    assert same(later, learner) and later.stopped.item() == 1 and metric(row, "taken") == 0


def test_a_nan_limit_refuses(problem, numbers, terms):
    """kl <= nan is False: the gate fails closed."""
    _, network, learner, batch = problem()
    assert build_step(network, terms(), Guards())(learner, batch, numbers(kl_limit=math.nan))[0].stopped.item() == 1


# Coefficient 0


def test_a_value_term_of_weight_zero_is_never_called(problem, numbers, terms):
    def explode(*_):
        raise AssertionError("called")

    _, network, learner, batch = problem()
    step = build_step(network, terms(value=explode, use_value=False), Guards())
    assert metric(step(learner, batch, numbers())[1], "taken") == 1
    with pytest.raises(AssertionError, match="called"):
        build_step(network, terms(value=explode), Guards())(learner, batch, numbers())


def test_a_penalty_of_weight_zero_has_no_gradient_not_even_nan(problem, numbers, terms):
    """0 x nan is nan: this estimator is 0 at equality, its derivative there is infinite."""

    def rooted(old, new, log_ratio):
        return (new.mean - old.mean).abs().sum(-1).sqrt()

    _, network, learner, batch = problem()
    for use, taken in ((False, 1), (True, 0)):
        step = build_step(network, terms(kl=rooted, use_kl=use), Guards())
        assert metric(step(learner, batch, numbers(kl=0.0))[1], "taken") == taken


def test_an_unused_entropy_term_ignores_its_coefficient(problem, numbers, terms):
    _, network, learner, batch = problem()
    step = build_step(network, terms(), Guards())
    assert same(step(learner, batch, numbers(entropy=math.inf))[0], step(learner, batch, numbers())[0])


# Bounds of sigma


@pytest.mark.parametrize(("push", "bound"), [(-1.0, -10.0), (1.0, 2.0)])
def test_sigma_stops_at_its_bound_and_can_come_back(problem, numbers, terms, push, bound):
    """An entropy coefficient of +-1 is a gradient of -+1 on every log sigma; with lr 0.5 the bound is near."""
    _, network, learner, batch = problem()
    batch = batch._replace(advantage=torch.zeros_like(batch.advantage))
    step = build_step(network, terms(use_value=False, use_entropy=True), Guards())
    at = slice(-2, None) if list(dict(network.named_parameters()))[-1] == "log_std" else slice(0, 2)
    for _ in range(40):
        learner, row = step(learner, batch, numbers(lr=0.5, entropy=push))
    assert (learner.params[at] == bound).all() and metric(row, "taken") == 1
    learner = learner._replace(m=torch.zeros_like(learner.m))
    learner, row = step(learner, batch, numbers(lr=0.5, entropy=-push))
    assert ((learner.params[at] - bound) * push < -0.01).all() and metric(row, "grad/norm") > 1


def test_the_clipped_value_loss_reads_the_old_prediction(problem, numbers, terms):
    module, network, learner, batch = problem(moved=0.3)
    _, row = build_step(network, terms(value=value.clipped), Guards())(learner, batch, numbers())
    with torch.no_grad():
        now = module.value(batch.obs)
    kept = torch.min(torch.max(now, batch.value - 0.2), batch.value + 0.2)
    expected = torch.max((now - batch.target) ** 2, (kept - batch.target) ** 2).mean()
    assert metric(row, "loss/value") == pytest.approx(expected.item(), rel=1e-5)


def test_two_seeds_stacked_step_as_each_alone(problem, numbers, terms):
    """A leading seed axis through torch.func.vmap; the second seed is refused by its own limit."""
    one, two = problem(moved=0.1, seed=1), problem(moved=0.3, seed=2)
    step = build_step(one.network, terms(), Guards())
    alone = [step(p.learner, p.batch, numbers(kl_limit=0.1)) for p in (one, two)]
    learners, batches = (
        tree_map(lambda *x: torch.stack(x), getattr(one, f), getattr(two, f)) for f in ("learner", "batch")
    )
    stacked, rows = torch.func.vmap(step, in_dims=(0, 0, None))(learners, batches, numbers(kl_limit=0.1))
    assert [learner.stopped.item() for learner, _ in alone] == stacked.stopped.tolist() == [0, 1]
    for i, (learner, row) in enumerate(alone):
        torch.testing.assert_close(stacked.params[i], learner.params)
        torch.testing.assert_close(rows[i], row)
