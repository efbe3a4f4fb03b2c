"""The natural step of objective=trpo: its direction, its length, and what it leaves alone."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from ppo.buffer.data import tree_map
from ppo.control.stop import Limits
from ppo.loss import kl, norm, objective
from ppo.update.loop import update
from ppo.update.measure import build_measure
from ppo.update.natural import build_natural_step, conjugate_gradient
from ppo.update.step import Guards, build_loss, build_step

OPTIONS = {"cg_steps": 60, "damping": 1e-2, "backtracks": 10, "shrink": 0.8}


@pytest.fixture
def leap(terms, numbers):
    """One natural step of a problem; returns (learner before, learner after, share of the full step)."""

    def run(problem, target_kl=0.01, entropy=0.0, **options):
        _, network, learner, batch = problem
        chosen = terms(objective=objective.trpo, use_value=False, use_entropy=entropy > 0)
        finish = build_natural_step(network, build_loss(network, chosen, Guards()), target_kl, **(OPTIONS | options))
        minibatches = tree_map(lambda x: x.unflatten(0, (4, 16)), batch)
        after, metrics = finish(learner, minibatches, numbers(batch.obs.dtype, entropy=entropy))
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
    x = torch.linalg.solve(fisher + 1e-3 * torch.eye(len(here), dtype=torch.float64), gradient)
    moved = torch.cat(
        [
            (a - b).flatten()
            for (n, a), b in zip(
                _named(start.network, after.params), _values(start.network, before.params), strict=True
            )
            if not n.startswith("critic")
        ]
    )
    assert torch.cosine_similarity(moved, x, dim=0) > 0.9999
    reached = kl_divergence(old, policy(here + moved)).mean().item()
    assert 0.98e-10 < reached <= 1e-10 and share > 0.98


def _named(network, flat):
    shapes = [(n, p.shape) for n, p in network.named_parameters()]
    parts = flat.split([math.prod(s) for _, s in shapes])
    return [(n, x.view(s)) for (n, s), x in zip(shapes, parts, strict=True)]


def _values(network, flat):
    return [x for _, x in _named(network, flat)]


@pytest.mark.parametrize("target", [1e-3, 0.01, 0.1])
@pytest.mark.parametrize("moved", [0.0, 0.05])
def test_the_kl_to_the_policy_that_acted_is_never_above_the_target_and_the_surrogate_rises(
    problem, leap, target, moved
):
    """Also where the policy had moved before: the constraint is on the way from the one that acted."""
    start = problem(moved=moved)
    before, after, share = leap(start, target)
    measure = build_measure(start.network, kl.exact, clamp=10.0)

    def surrogate(params):
        policy = start.network
        torch.nn.utils.vector_to_parameters(params, policy.parameters())
        with torch.no_grad():
            ratio = policy.policy(start.batch.obs).log_ratio(start.batch.policy, start.batch.action).exp()
        return (ratio * start.batch.advantage).mean().item()

    reached = measure(after.params, start.batch).kl.item()
    assert reached <= target or (share == 0 and torch.equal(after.params, before.params))
    if not moved:
        assert reached > 0.1 * target and share > 0
    if share:
        assert surrogate(after.params.clone()) > surrogate(before.params.clone())


def test_the_critic_and_adam_are_left_alone(problem, leap):
    start = problem()
    before, after, share = leap(start)
    assert share > 0 and not torch.equal(before.params, after.params)
    for (name, x), y in zip(_named(start.network, before.params), _values(start.network, after.params), strict=True):
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
    _, after, share = leap(start, target_kl=0.01, entropy=0.1)
    sigma = dict(_named(start.network, after.params))["log_std"]
    assert share > 0 and (sigma > -0.5).all()


def test_an_update_trains_the_critic_by_minibatches_and_then_moves_the_policy_once(problem, terms, numbers):
    _, network, learner, batch = problem()
    chosen = terms(objective=objective.trpo, use_policy=False)
    loss = build_loss(network, chosen._replace(use_policy=True, use_value=False), Guards())
    finish = build_natural_step(network, loss, 0.01, **OPTIONS)
    step, rows = build_step(network, chosen, Guards()), []

    def watched(*inputs):
        rows.append(step(*inputs))
        return rows[-1]

    g = torch.Generator().manual_seed(5)
    arguments = (build_measure(network, kl.exact, clamp=10.0), learner, batch, numbers(lr=1e-2), Limits(), norm.global_)
    after, halt, metrics = update(watched, *arguments, g, epochs=3, minibatch_size=16, finish=finish)
    start = dict(_named(network, learner.params))
    for name, x in _named(network, rows[-1][0].params):
        assert torch.equal(x, start[name]) != name.startswith("critic"), name
    for name, x in _named(network, after.params):
        assert not torch.equal(x, start[name]), name
    assert halt is None and len(rows) == 12 and metrics["kl/exact"] == 0 and metrics["trpo/step"] > 0
    assert 0.001 < metrics["kl/final"] <= 0.01
