"""project=trpl: by hand, its bounds, and what is left alone."""

import math

import pytest
import torch

from ppo.config.options import option
from ppo.loss.project import diagonal, pull
from ppo.loss.terms import projection
from ppo.network.distributions import Gaussian
from ppo.update.step import build_step
from ppo.update.total import Guards
from tests.update.steps import turn


def gaussian(mean, sigma):
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64).log())


def two(states=500, actions=3, apart=0.5):
    g = torch.Generator().manual_seed(0)

    def randn():
        return torch.randn(states, actions, generator=g, dtype=torch.float64)

    old = Gaussian(randn(), 0.5 * randn())
    size = apart * 10 ** (2 * torch.rand(states, 1, generator=g, dtype=torch.float64) - 2)  # from hardly to far
    return old, Gaussian(old.mean + size * randn(), old.log_std + size * randn())


def distances(old, new, metric):
    """(of the means, of the deviations), as the paper has them."""
    means = 0.5 * ((new.mean - old.mean) / old.log_std.exp()).square().sum(-1)
    if metric == "w2":
        return means, (1 - new.log_std.exp() / old.log_std.exp()).square().sum(-1)
    return means, ((2 * new.log_std).exp() - (2 * old.log_std).exp()).square().sum(-1)


def test_by_hand():
    """m = (3 / 1)^2 / 2 = 4.5 against 0.5: a third of the way. |1 - 2|^2 = 1 against 0.25: half of it; of variances
    (4 - 1)^2 = 9 against 1: a third."""
    old, new = gaussian([[0.0]], [[1.0]]), gaussian([[3.0]], [[2.0]])
    got = diagonal(old, new, mean=0.5, deviation=0.25, metric="w2")
    assert got.mean.item() == pytest.approx(1.0) and got.log_std.exp().item() == pytest.approx(1.5)
    got = diagonal(old, new, mean=9.0, deviation=1.0, metric="frobenius")
    assert got.mean.item() == 3.0 and (2 * got.log_std).exp().item() == pytest.approx(2.0)


@pytest.mark.parametrize("metric", ["w2", "frobenius"])
def test_every_state_meets_its_bounds_and_within_them_nothing_moves(metric):
    old, new = two()
    got = diagonal(old, new, mean=0.03, deviation=1e-3, metric=metric)
    before, after = distances(old, new, metric), distances(old, got, metric)
    for was, now, bound, x, y in zip(before, after, (0.03, 1e-3), new, got, strict=True):
        outside = was > bound
        assert 50 < outside.sum() < 450  # both are there
        torch.testing.assert_close(now[outside], torch.full_like(now[outside], bound), rtol=1e-6, atol=0)
        assert torch.equal(x[~outside], y[~outside])
    at_rest = diagonal(old, old, mean=0.03, deviation=1e-3, metric=metric)
    assert torch.equal(at_rest.mean, old.mean) and torch.equal(at_rest.log_std, old.log_std)


def test_the_gradient_is_finite_where_the_policies_are_equal_and_is_that_of_finite_differences():
    old, new = two(4, 2)

    def through(mean, log_std):
        got = diagonal(old, Gaussian(mean, log_std), mean=0.03, deviation=1e-3, metric="w2")
        return got.mean, got.log_std

    given = [x.clone().requires_grad_() for x in new]
    assert torch.autograd.gradcheck(through, given)
    still = [x.clone().requires_grad_() for x in old]
    sum(x.sum() for x in through(*still)).backward()
    assert all(torch.equal(x.grad, torch.ones_like(x)) for x in still)


def test_the_pull_leads_the_network_back_and_is_nothing_within_the_bounds():
    old, new = gaussian([[0.0]], [[1.0]]), gaussian([[3.0]], [[1.0]])
    mean = new.mean.requires_grad_()
    at = Gaussian(mean, new.log_std)
    got = pull(at, diagonal(old, at, mean=0.5, deviation=0.25, metric="w2"))
    got.sum().backward()
    assert got.item() == pytest.approx(2.0) and mean.grad.item() == pytest.approx(2.0)  # (3 - 1)^2 / 2, 3 - 1
    assert pull(old, diagonal(old, old, mean=0.5, deviation=0.25, metric="w2")).item() == 0


@pytest.mark.parametrize("far", [False, True])
def test_the_ratio_of_the_objective_is_that_of_the_projected_policy(problem, numbers, make_loss, far):
    _, evaluate, learner, batch = problem(64, moved=0.5, dtype=torch.float64)
    bound = 1e-2 if far else 1e6
    project = option("project", "trpl", mean=bound, deviation=bound)().project
    loss = make_loss(project=project, terms=(projection(),))
    knobs = numbers(torch.float64, coef={"projection": 1.0}, clip_low=0.0, clip_high=math.inf)
    metrics = turn(build_step(evaluate, loss, Guards()), learner, batch, knobs).metrics
    policy = evaluate.policy(learner.params, batch)
    ratio = project(batch.policy, policy).log_ratio(batch.policy, batch.action).exp()
    assert metrics["loss/policy"] == pytest.approx(-(ratio * batch.advantage).mean().item(), rel=1e-5)
    assert (metrics["loss/projection"] > 0) == far
    plain = build_step(evaluate, make_loss(), Guards())(learner, batch, knobs)[0]
    moved = build_step(evaluate, loss, Guards())(learner, batch, knobs)[0]
    assert torch.allclose(plain.params, moved.params, rtol=0, atol=1e-12) != far
