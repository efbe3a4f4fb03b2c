"""The outer step: by hand, its bound, and that what is reported is where the parameters are."""

import math

import pytest
import torch

from ppo.config.options import option
from ppo.control.stop import Limits
from ppo.loss import kl, norm
from ppo.network.flat import box
from ppo.update.loop import Update, update
from ppo.update.measure import build_measure
from ppo.update.optim import Learner
from ppo.update.outer import build_outer
from ppo.update.step import build_step
from ppo.update.total import Guards

X = [torch.tensor(x) for x in ([1.0, 2.0], [1.5, 1.0], [0.2, 0.4])]  # start, end, velocity


def test_the_step_goes_sigma_times_as_far_by_hand():
    params, velocity = option("outer", "step", sigma=2.0, momentum=0.5)(*X)
    torch.testing.assert_close(velocity, torch.tensor([0.6, -0.8]))  # 0.5 v + d
    torch.testing.assert_close(params, torch.tensor([1 + 2 * (0.5 + 0.3), 2 + 2 * (-1 - 0.4)]))
    params, _ = option("outer", "step", sigma=0.5)(*X)
    torch.testing.assert_close(params, torch.tensor([1.25, 1.5]))
    assert option("outer", "none")(*X)[0] is X[1]


@pytest.fixture
def updated(problem, numbers, make_loss):
    """One update; returns (learner before, learner after, metrics)."""

    def run(outer=None, limit=math.inf, momentum=0.0, updates=1, **coef):
        start = problem(64)
        _, evaluate, learner, batch = start
        if momentum:
            learner = learner._replace(velocity=torch.zeros_like(learner.params))
        bound = Update(
            step=build_step(evaluate, make_loss(), Guards()),
            measure=build_measure(evaluate, kl.exact, clamp=10.0),
            norm=norm.minibatch,
            limits=Limits("none"),
            epochs=3,
            minibatch_size=16,
        )
        if outer:
            rule = option("outer", "step", sigma=outer, momentum=momentum)
            bound = bound._replace(outer=build_outer(rule, box(evaluate.network), limit))
        after, metrics = learner, {}
        for _ in range(updates):
            after, _, metrics = update(bound, after, batch, numbers(lr=1e-2), torch.Generator().manual_seed(0))
        return learner, after, metrics, bound.measure(after.params, batch).kl.item()

    return run


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_the_kl_that_is_reported_is_that_of_the_parameters_that_were_kept(updated, sigma):
    before, inner, plain, _ = updated()
    _, after, metrics, kl_there = updated(sigma)
    torch.testing.assert_close(after.params, before.params + sigma * (inner.params - before.params))
    assert metrics["kl/final"] == kl_there and metrics["outer/step"] == 1
    assert (kl_there > plain["kl/final"]) == (sigma > 1) or sigma == 1
    assert torch.equal(after.m, inner.m) and "outer/step" not in plain


def test_the_outer_step_is_halved_until_it_is_within_the_limit(updated):
    _, _, far, kl_far = updated(2.0)
    before, after, metrics, kl_there = updated(2.0, limit=kl_far / 10)
    assert 0 < metrics["outer/step"] < 1 and math.log2(metrics["outer/step"]).is_integer()
    assert kl_far / 100 < metrics["kl/final"] == kl_there <= kl_far / 10
    before, after, metrics, _ = updated(2.0, limit=1e-30)
    assert metrics["outer/step"] == 0 == metrics["kl/final"] and torch.equal(after.params, before.params)


def test_momentum_is_remembered(updated):
    _, after, _, _ = updated(1.0, momentum=0.5, updates=2)
    assert after.velocity.abs().max() > 0
    assert updated(1.0)[1].velocity == ()


@pytest.fixture
def stepped(numbers):
    """Of a learner with a velocity, whose inner steps led to ``end``; how far it goes stands for the KL, unless that is given."""

    def run(limit, end, kl=None):
        start, wide = Learner.start(X[0])._replace(velocity=X[2]), (torch.full((2,), -9.0), torch.full((2,), 9.0))
        step = build_outer(option("outer", "step", sigma=1.0, momentum=0.5), wide, limit)

        def far(params):
            return (params - X[0]).abs().max() if kl is None else torch.tensor(kl)

        return step(start, start._replace(params=end), numbers(), far)

    return run


def test_the_velocity_takes_the_share_that_was_taken_by_hand(stepped):
    after, metrics = stepped(1.0, X[1])  # the whole step moves by (0.8, -1.4), the half by (0.4, -0.7)
    assert metrics["outer/step"] == 0.5
    torch.testing.assert_close(after.params, torch.tensor([1.4, 1.3]))
    torch.testing.assert_close(after.velocity, torch.tensor([0.1 + 0.25, 0.2 - 0.5]))  # 0.5 v + d / 2
    after, _ = stepped(0.0, X[1])
    torch.testing.assert_close(after.velocity, torch.tensor([0.1, 0.2]))


def test_momentum_alone_moves_nothing(stepped):
    """Every inner step was refused, or all were undone: the update was none."""
    after, metrics = stepped(math.inf, X[0])
    assert torch.equal(after.params, X[0]) and torch.equal(after.velocity, X[2]) and metrics["outer/step"] == 0


@pytest.mark.parametrize(("sigma", "kls"), [(2.0, [0.0]), (8.0, [2.0, 0.0])], ids=["whole", "halved"])
def test_an_outer_step_ends_within_the_bounds_of_the_network(numbers, sigma, kls):
    """The inner steps led to a corner of them; 0.5 and -1 further on, or three times that, there is nothing."""
    start, corner = Learner.start(X[0]), (torch.tensor([-9.0, 1.0]), torch.tensor([1.5, 9.0]))
    step = build_outer(option("outer", "step", sigma=sigma), corner, limit=1.0)
    told = iter(kls)
    after, metrics = step(start, start._replace(params=X[1]), numbers(), lambda params: torch.tensor(next(told)))
    assert torch.equal(after.params, X[1]) and metrics["outer/step"] == 1 / len(kls)


def test_an_outer_step_whose_kl_is_nan_is_not_taken(stepped):
    """A limit compared by `kl > limit` would let NaN through."""
    after, metrics = stepped(1.0, X[1], kl=math.nan)
    assert metrics["outer/step"] == 0 and torch.equal(after.params, X[0])
