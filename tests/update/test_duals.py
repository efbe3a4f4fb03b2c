"""objective=vmpo: its weights by hand, and multipliers that move the right way."""

import math
from functools import partial

import pytest
import torch

from ppo.config.options import option
from ppo.loss.objective import better_half
from ppo.loss.terms import At, decoupled
from ppo.network.distributions import Gaussian
from ppo.update.duals import build_duals, into, loss
from ppo.update.optim import adam
from ppo.update.step import GOING, LIMIT, NONFINITE, build_step
from ppo.update.total import Guards
from tests.update.steps import same, turn

VMPO = option("objective", "vmpo")
BOUNDS = {"eps_eta": 0.05, "eps_mean": 0.01, "eps_deviation": 0.001}
FREE = torch.tensor(0.0), torch.tensor(math.inf)


def test_the_better_half_is_weighted_by_its_softmax_by_hand():
    """Of 2, 0, -1, 1 and one that is masked 2 and 1 are left: e / (1 + e) and 1 / (1 + e) of four samples."""
    log_ratio = torch.zeros(5, requires_grad=True)
    advantage = torch.tensor([2.0, 0.0, -1.0, 1.0, -math.inf])
    VMPO(log_ratio, advantage, *FREE).sum().backward()
    e = math.e
    torch.testing.assert_close(log_ratio.grad, torch.tensor([4 * e / (1 + e), 0.0, 0.0, 4 / (1 + e), 0.0]))
    log_ratio.grad = None
    VMPO(log_ratio, advantage, *FREE, eta=torch.tensor(1e6)).sum().backward()  # hot: all alike
    torch.testing.assert_close(log_ratio.grad, torch.tensor([2.0, 0.0, 0.0, 2.0, 0.0]))


def test_of_one_sample_that_one_is_the_better_half():
    assert better_half(torch.tensor([3.0])).tolist() == [True]
    assert better_half(torch.tensor([-1.0, -math.inf, -2.0])).tolist() == [True, False, False]


def test_the_loss_of_the_duals_has_the_gradient_of_the_paper():
    """d / d eta is eps - KL(psi || uniform), d / d alpha is eps - KL; here of their logarithms, by 0.7, 2 and 3."""
    logs = torch.tensor([0.7, 2.0, 3.0], dtype=torch.float64).log().requires_grad_()
    advantage = torch.tensor([2.0, 0.0, -1.0, 1.0], dtype=torch.float64)
    loss(logs, advantage, torch.tensor([0.03, 0.0004], dtype=torch.float64), **BOUNDS).backward()
    psi = torch.softmax(torch.tensor([2.0, 1.0], dtype=torch.float64) / 0.7, 0)
    from_uniform = (psi * (2 * psi).log()).sum().item()
    expected = [0.7 * (0.05 - from_uniform), 2 * (0.01 - 0.03), 3 * (0.001 - 0.0004)]
    assert logs.grad.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kl", "signs"), [((0.02, 0.002), (1, 1)), ((0.005, 0.0001), (-1, -1)), ((0.02, 0.0001), (1, -1))]
)
def test_what_is_too_far_becomes_dearer_and_what_is_too_near_cheaper(kl, signs):
    options = BOUNDS | {"eta": 1.0, "alpha": 2.0, "rate": 0.1}
    duals, move = build_duals(options, adam, torch.zeros(3))
    assert duals.params.exp().tolist() == pytest.approx([1.0, 2.0, 2.0])
    after = move(duals, torch.randn(64, generator=torch.Generator().manual_seed(0)), torch.tensor(kl), {})
    change = (after.params - duals.params).tolist()
    assert change[0] > 0  # at 1 the weights are further from uniform than 0.05
    assert [math.copysign(1, x) for x in change[1:]] == [*signs]
    wide = move(duals, torch.zeros(4), torch.tensor(kl), {"eps_mean": torch.tensor(1.0)})
    assert wide.params[1] < duals.params[1]  # a bound that match_kl= moved


def test_the_two_parts_are_of_the_means_alone_and_of_the_deviations_alone(problem):
    """The old deviation is 1: (mu / 1)^2 / 2, and log s + 1 / (2 s^2) - 1/2."""
    old, new = (Gaussian(torch.tensor([[m]]), torch.tensor([[s]]).log()) for m, s in ((0.0, 1.0), (0.6, 2.0)))
    at = At(new, new, problem(1).batch._replace(policy=old), torch.zeros(1), lambda inputs: None)
    means, deviations = (term.loss(at).item() for term in decoupled())
    assert means == pytest.approx(0.18) and deviations == pytest.approx(math.log(2) + 1 / 8 - 0.5)


def test_a_step_uses_what_was_learned_and_learns_unless_it_is_refused(problem, numbers, make_loss):
    _, evaluate, learner, batch = problem(64, moved=0.2)
    options = BOUNDS | {"eta": 3.0, "alpha": 2.0, "rate": 0.1}
    duals, move = build_duals(options, partial(adam, eps=1e-8), learner.params)
    learner = learner._replace(duals=duals)
    step = build_step(evaluate, make_loss(objective=VMPO, terms=decoupled(), duals=move), Guards())
    after, metrics = turn(step, learner, batch, numbers())
    assert metrics["vmpo/eta"] == pytest.approx(3.0) and metrics["coef/kl_mean"] == pytest.approx(2.0)
    kl = [metrics["loss/kl_mean"], metrics["loss/kl_deviation"]]
    assert min(kl) > 0.001
    expected = move(duals, batch.advantage, torch.tensor(kl), {})
    torch.testing.assert_close(after.duals.params, expected.params)
    total = metrics["loss/policy"] + 2 * sum(kl) + 0.5 * metrics["loss/value"]
    assert metrics["loss/total"] == pytest.approx(total, rel=1e-5)
    refused = step(learner, batch, numbers(limit=1e-9))[0]
    assert refused.stopped == LIMIT and torch.equal(refused.duals.params, duals.params)
    assert into(numbers(), duals).of("objective")["eta"].item() == pytest.approx(3.0)


@pytest.mark.parametrize("masked", [1, 40, 64])
def test_masked_samples_enter_neither_weights_nor_multipliers(problem, numbers, make_loss, masked):
    """Whatever their advantage; and where all are masked nothing breaks."""
    ends = []
    for value in (0.0, 100.0):
        _, evaluate, learner, batch = problem(64, moved=0.2)
        batch.mask[:masked] = False
        batch.advantage[:masked] = value
        duals, move = build_duals(BOUNDS | {"eta": 3.0, "alpha": 2.0, "rate": 0.1}, adam, learner.params)
        step = build_step(evaluate, make_loss(objective=VMPO, terms=decoupled(), duals=move), Guards())
        ends.append(step(learner._replace(duals=duals), batch, numbers())[0])
    one, two = ends
    assert one.stopped == two.stopped == GOING and torch.isfinite(one.params).all()
    assert torch.equal(one.params, two.params) and torch.isfinite(one.duals.params).all()
    assert masked == 64 or torch.equal(one.duals.params, two.duals.params)


def test_a_step_that_would_end_at_infinite_multipliers_is_refused(problem, numbers, make_loss):
    """Loss, gradient and parameters are finite; rate / (1 - beta1) is beyond float32."""
    _, evaluate, learner, batch = problem(64, moved=0.2)
    duals, move = build_duals(BOUNDS | {"eta": 3.0, "alpha": 2.0, "rate": 1e38}, adam, learner.params)
    learner = learner._replace(duals=duals)
    step = build_step(evaluate, make_loss(objective=VMPO, terms=decoupled(), duals=move), Guards())
    after, metrics = turn(step, learner, batch, numbers())
    assert math.isfinite(metrics["loss/total"]) and math.isfinite(metrics["grad/norm"])
    assert after.stopped == NONFINITE and same(after, learner) and same(after.duals, duals)
