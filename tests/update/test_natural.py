"""The natural step of objective=trpo: its direction, its length, and what it leaves alone."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.config.options import option
from ppo.control.stop import Limits
from ppo.loss import kl, norm
from ppo.loss.terms import Term, entropy
from ppo.network.flat import box
from ppo.update.loop import Update, update
from ppo.update.measure import build_measure
from ppo.update.natural import build_natural_step, conjugate_gradient
from ppo.update.step import build_step
from ppo.update.total import Guards, build_loss
from tests.update.steps import watched

TRPO = option("objective", "trpo")
OPTIONS = {"cg_steps": 60, "damping": 1e-2, "backtracks": 10, "shrink": 0.8}


@pytest.fixture
def leap(make_loss, numbers):
    """One natural step of a problem; returns (learner before, learner after, share of the full step)."""

    def run(problem, target_kl=0.01, bonus=0.0, **options):
        _, evaluate, learner, batch = problem
        terms = (Term("entropy", entropy),) if bonus > 0 else ()
        surrogate = build_loss(evaluate, make_loss(objective=TRPO, critic=False, terms=terms), Guards())
        finish = build_natural_step(evaluate, surrogate, target_kl, **(OPTIONS | options))
        minibatches = tree_map(lambda x: x.unflatten(0, (4, 16)), batch)
        after, metrics = finish(learner, minibatches, numbers(batch.obs.dtype, coef={"entropy": bonus}))
        return learner, after, metrics["trpo/step"].item()

    return run


def test_conjugate_gradient_solves():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(12, 12, generator=g, dtype=torch.float64)
    a = a @ a.T + torch.eye(12, dtype=torch.float64)
    b = torch.randn(12, generator=g, dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda x: a @ x, b, 12), torch.linalg.solve(a, b))
    assert not conjugate_gradient(lambda x: a @ x, torch.zeros_like(b), 12).any()


def test_the_step_is_along_the_natural_gradient_and_as_long_as_the_kl_allows(problem, leap):
    """Against the dense Fisher matrix of torch.autograd and torch.distributions; at a small target both are exact."""
    start = problem(64, dtype=torch.float64)
    module, batch = start.module, start.batch
    before, after, share = leap(start, target_kl=1e-10, damping=1e-3, shrink=0.999)
    actor = [p for name, p in module.named_parameters() if not name.startswith("critic")]
    sizes = [p.numel() for p in actor]

    def policy(flat):
        named = dict(module.named_parameters())
        moved = dict(zip((n for n in named if not n.startswith("critic")), flat.split(sizes), strict=True))
        (mean, log_std), _ = torch.func.functional_call(
            module, named | {n: x.view(named[n].shape) for n, x in moved.items()}, (batch.obs,)
        )
        return Independent(Normal(mean, log_std.exp()), 1)

    here = torch.cat([p.detach().flatten() for p in actor])
    old = Independent(Normal(batch.policy.mean, batch.policy.log_std.exp()), 1)
    fisher = torch.autograd.functional.hessian(lambda x: kl_divergence(old, policy(x)).mean(), here)
    gradient = torch.autograd.functional.jacobian(
        lambda x: ((policy(x).log_prob(batch.action) - old.log_prob(batch.action)).exp() * batch.advantage).mean(), here
    )
    damped = fisher + 1e-3 * torch.eye(len(here), dtype=torch.float64)
    x = torch.linalg.solve(damped, gradient)
    moved = torch.cat(
        [
            (a - b).flatten()
            for (n, a), b in zip(_named(start, after.params), _values(start, before.params), strict=True)
            if not n.startswith("critic")
        ]
    )
    assert torch.cosine_similarity(moved, x, dim=0) > 0.9999
    reached = kl_divergence(old, policy(here + moved)).mean().item()
    assert reached == pytest.approx(1e-10 * (x @ fisher @ x / (x @ damped @ x)).item(), rel=0.02)
    assert 0.5e-10 < reached <= 1e-10 and share > 0.98


def _named(problem, flat):
    return list(problem.evaluate.cut(flat).items())


def _values(problem, flat):
    return [x for _, x in _named(problem, flat)]


@pytest.mark.parametrize("target", [1e-3, 0.01, 0.1])
@pytest.mark.parametrize("moved", [0.0, 0.05])
def test_the_kl_to_the_policy_that_acted_is_never_above_the_target_and_the_surrogate_rises(
    problem, leap, target, moved
):
    """Also where the policy had moved before: the constraint is on the way from the one that acted."""
    start = problem(moved=moved)
    before, after, share = leap(start, target)
    measure = build_measure(start.evaluate, kl.exact, clamp=10.0)

    def surrogate(params):
        ratio = start.evaluate.policy(params, start.batch).log_ratio(start.batch.policy, start.batch.action).exp()
        return (ratio * start.batch.advantage).mean().item()

    reached = measure(after.params, start.batch).kl.item()
    assert reached <= target or (share == 0 and torch.equal(after.params, before.params))
    if not moved:
        assert reached > 0.1 * target and share > 0
    if share:
        assert surrogate(after.params) > surrogate(before.params)


def test_the_critic_and_adam_are_left_alone(problem, leap):
    start = problem()
    before, after, share = leap(start)
    assert share > 0 and not torch.equal(before.params, after.params)
    for (name, x), y in zip(_named(start, before.params), _values(start, after.params), strict=True):
        assert torch.equal(x, y) == name.startswith("critic"), name
    assert all(torch.equal(getattr(before, f), getattr(after, f)) for f in ("m", "v", "count", "stopped"))


def test_masked_samples_have_no_influence(problem, leap):
    tame, wild = problem(), problem()
    for p in (tame, wild):
        p.batch.mask[::3] = False
    for x in (wild.batch.obs, wild.batch.action, wild.batch.advantage, wild.batch.policy.mean):
        x[::3] = 1e3
    assert torch.equal(leap(tame)[1].params, leap(wild)[1].params)


@pytest.mark.parametrize("why", ["stopped", "nan advantage", "nan obs", "nothing to gain"])
def test_nothing_moves_where_the_update_stopped_or_nothing_is_better(problem, leap, why):
    start = problem()
    if why == "stopped":
        start = start._replace(learner=start.learner._replace(stopped=torch.tensor(2)))
    elif why == "nothing to gain":
        start.batch.advantage.zero_()
    else:
        getattr(start.batch, why.split()[1])[3] = math.nan
    before, after, share = leap(start)
    assert torch.equal(before.params, after.params) and share == 0


def test_an_entropy_bonus_joins_the_surrogate(problem, leap):
    """Without an advantage it is all there is: sigma grows, by as much as the KL allows."""
    start = problem()
    start.batch.advantage.zero_()
    _, after, share = leap(start, target_kl=0.01, bonus=0.1)
    sigma = dict(_named(start, after.params))["log_std"]
    assert share > 0 and (sigma > -0.5).all()


def test_a_natural_step_ends_within_the_bounds_of_the_network(problem, leap):
    """An entropy bonus is all there is to gain; the first deviation is at its ceiling, the second has room."""
    start = problem()
    ceiling = dict(_named(start, box(start.evaluate.network)[1]))["log_std"]
    dict(_named(start, start.learner.params))["log_std"][0] = ceiling[0]
    start.batch.policy.log_std[:, 0] = ceiling[0]
    start.batch.advantage.zero_()
    before, after, share = leap(start, bonus=0.1)
    (here, there), (was, _) = (dict(_named(start, x.params))["log_std"] - ceiling for x in (after, before))
    assert share > 0 and here == was == 0 and dict(_named(start, before.params))["log_std"][1] - ceiling[1] < there < 0


def test_an_update_trains_the_critic_by_minibatches_and_then_moves_the_policy_once(problem, make_loss, numbers):
    _, evaluate, learner, batch = start = problem()
    chosen = make_loss(objective=TRPO)
    surrogate = build_loss(evaluate, chosen._replace(critic=False), Guards())
    step, turns = watched(build_step(evaluate, chosen._replace(policy=False), Guards()))
    bound = Update(
        step=step,
        measure=build_measure(evaluate, kl.exact, clamp=10.0),
        norm=norm.global_,
        limits=Limits("none"),
        epochs=3,
        minibatch_size=16,
        finish=build_natural_step(evaluate, surrogate, 0.01, **OPTIONS),
    )
    after, halt, metrics = update(bound, learner, batch, numbers(lr=1e-2), torch.Generator().manual_seed(5))
    before = dict(_named(start, learner.params))
    for name, x in _named(start, turns[-1].learner.params):
        assert torch.equal(x, before[name]) != name.startswith("critic"), name
    for name, x in _named(start, after.params):
        assert not torch.equal(x, before[name]), name
    assert halt is None and len(turns) == 12 and metrics["kl/exact"] == 0 and metrics["trpo/step"] > 0
    assert 0.001 < metrics["kl/final"] <= 0.01
