"""The policy objective and the critic's loss: hand-computed values and gradients."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from ppo.config.options import option
from ppo.loss import objective, value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ppo_gives_the_reference_values_and_gradients(vectors, dtype):
    """The reference gives the gradient with respect to the ratio: that with respect to its logarithm, over r."""
    for case in vectors["objective"]["ppo"]:
        r = torch.tensor([case["r"]], dtype=dtype)
        log_ratio = r.log().requires_grad_()
        low, high = (torch.tensor(1 + s * case["eps"], dtype=dtype) for s in (-1, 1))
        got = option("objective", "ppo")(log_ratio, torch.tensor([case["A"]], dtype=dtype), low, high)
        got.sum().backward()
        assert got.item() == pytest.approx(case["obj"], rel=1e-6)
        if case["grad"] is not None:
            assert (log_ratio.grad / r).item() == pytest.approx(case["grad"], rel=1e-6), case


def slope(name, ratio, advantage, low=0.8, high=1.2, **options):
    """(value, derivative with respect to the ratio) of an objective."""
    log_ratio = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    bounds = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    got = option("objective", name, **options)(log_ratio, torch.tensor([advantage], dtype=torch.float64), *bounds)
    got.sum().backward()
    return got.item(), log_ratio.grad.item() / ratio


def test_spo_gives_the_reference_values_and_gradients(vectors):
    for case in vectors["objective"]["spo"]:
        got = slope("spo", case["r"], case["A"], 1 - case["eps"], 1 + case["eps"])
        assert got == pytest.approx((case["obj"], case["grad"]), abs=1e-9), case


@pytest.mark.parametrize(("advantage", "edge"), [(1.0, 1.3), (-1.0, 0.9)])
def test_spo_is_best_at_the_edge_of_an_asymmetric_range_and_leads_back_beyond(advantage, edge):
    outward = 1e-3 if advantage > 0 else -1e-3
    at, inside, outside = (slope("spo", edge + x * outward, advantage, 0.9, 1.3) for x in (0, -1, 1))
    assert at[1] == pytest.approx(0, abs=1e-9) and at[0] > max(inside[0], outside[0])
    assert inside[1] * outward > 0 > outside[1] * outward


def test_truly_gives_the_reference_values_and_gradients(vectors):
    """Beyond the range the slope is -alpha, in it 1."""
    for case in vectors["objective"]["truly"]:
        got = slope("truly", case["r"], case["A"], 1 - case["eps"], 1 + case["eps"], alpha=case["alpha"])
        assert got[0] == pytest.approx(case["obj"]), case
        assert case["grad"] is None or got[1] == pytest.approx(case["grad"]), case
    assert slope("truly", 1.3, 2.0, alpha=0.1)[1] == pytest.approx(-0.2)
    assert slope("truly", 0.7, -2.0, alpha=0.1)[1] == pytest.approx(0.2)
    assert slope("truly", 0.7, 2.0)[1] == pytest.approx(2.0) == -slope("truly", 1.3, -2.0)[1]


def test_without_a_range_truly_and_ppo_are_the_free_surrogate():
    for name in ("truly", "ppo", "trpo"):
        for ratio in (0.1, 1.0, 5.0):
            assert slope(name, ratio, 2.0, 0.0, math.inf) == pytest.approx((2 * ratio, 2.0))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(5.0, -1.0, (-3.0, 0.0)), (2.0, -1.0, (-2.0, -1.0)), (5.0, 1.0, (1.2, 0.0)), (0.5, -1.0, (-0.8, 0.0))],
)
def test_the_dual_clip_bounds_what_a_bad_action_can_cost(ratio, advantage, expected):
    """At most dual * |A|, and without a gradient there; good actions are as without it."""
    assert slope("ppo", ratio, advantage, dual=3.0) == pytest.approx(expected)


POINTS = [(r, a) for r in (0.3, 0.79, 0.9, 1.0, 1.1, 1.21, 3.0) for a in (2.0, -0.5)]


@pytest.mark.parametrize(("ratio", "advantage"), POINTS)
def test_aspo_is_ppo_for_good_actions_and_spo_for_bad_ones(ratio, advantage):
    assert slope("aspo", ratio, advantage) == slope("ppo" if advantage >= 0 else "spo", ratio, advantage)


@pytest.mark.parametrize(("ratio", "advantage"), POINTS)
def test_soft_with_a_step_has_the_gradient_of_ppo(ratio, advantage):
    assert slope("soft", ratio, advantage, gate="step")[1] == pytest.approx(
        slope("ppo", ratio, advantage)[1], abs=1e-12
    )


@pytest.mark.parametrize(
    ("gate", "ratio", "advantage", "expected"),
    [  # (1 - g) A, the derivative with respect to the ratio; the bound is 1.2 above and 0.8 below
        ("linear", 1.15, 2.0, 2.0),
        ("linear", 1.2, 2.0, 1.0),
        ("linear", 1.225, 2.0, 0.5),
        ("linear", 1.3, 2.0, 0.0),
        ("linear", 0.775, -2.0, -0.5),
        ("linear", 1.3, -2.0, -2.0),
        ("sigmoid", 1.2, 2.0, 1.0),
        ("sigmoid", 1.3, 2.0, 2.0 / (1 + math.e)),
        ("sigmoid", 0.7, -2.0, -2.0 / (1 + math.e)),
    ],
)
def test_soft_fades_where_ppo_ends(gate, ratio, advantage, expected):
    assert slope("soft", ratio, advantage, gate=gate, softness=0.1)[1] == pytest.approx(expected, abs=1e-9)


def test_dpo_drifts_back_by_hand_computed_amounts():
    """u = 3 - tanh 3 above (alpha 1, A = 1, r = 4); u = 2 log 2 below (beta 1, A = -2, r = 1/2); inside, nothing."""
    up, slope_up = slope("dpo", 4.0, 1.0, alpha=1.0, beta=1.0)
    assert up == pytest.approx(4 - (3 - math.tanh(3))) and slope_up == pytest.approx(1 - math.tanh(3) ** 2)
    u = 2 * math.log(2)
    down, slope_down = slope("dpo", 0.5, -2.0, alpha=1.0, beta=1.0)
    assert down == pytest.approx(-1 - (u - math.tanh(u)))
    assert slope_down == pytest.approx(-2 + 4 * math.tanh(u) ** 2)  # du/dr = A / r = -4
    assert slope("dpo", 0.5, 1.0) == pytest.approx((0.5, 1.0)) and slope("dpo", 2.0, -1.0) == pytest.approx(
        (-2.0, -1.0)
    )
    assert slope("dpo", 1.0, 3.0) == pytest.approx((3.0, 3.0))  # where it acted: the policy gradient


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_none_is_the_plain_policy_gradient(ratio):
    """A log r: derivative A with respect to log pi, whatever the ratio."""
    value, derivative = slope("none", ratio, -2.0)
    assert value == pytest.approx(-2 * math.log(ratio)) and derivative * ratio == pytest.approx(-2.0)


@pytest.mark.parametrize("name", ["ppo", "spo", "truly", "aspo", "dpo", "none", "trpo"])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_the_gradient_at_ratio_one_is_the_plain_policy_gradient(name, advantage):
    assert slope(name, 1.0, advantage)[1] == pytest.approx(advantage)


def test_clipped_value_loss_takes_the_larger_of_the_two_losses():
    """old 0, eps 0.2. Prediction 1 counts as 0.2: for target 0, max(1, 0.04) = 1; for target 2, max(1, 3.24) = 3.24.
    Prediction 0.1 is within the range."""
    prediction, target = torch.tensor([1.0, 1.0, 0.1]), torch.tensor([0.0, 2.0, 1.0])
    got = value.clipped(prediction, target, torch.zeros(3), eps=0.2)
    torch.testing.assert_close(got, torch.tensor([1.0, 3.24, 0.81]))
    torch.testing.assert_close(value.mse(prediction, target, torch.zeros(3)), torch.tensor([1.0, 1.0, 0.81]))


def test_huber_is_mse_near_the_target_and_a_line_beyond():
    """delta 0.5: e = 0.3 gives 0.09; e = -2 gives 0.5 (2 * 2 - 0.5) = 1.75; the slope is never above 2 delta."""
    prediction = torch.tensor([0.3, -2.0, 0.5, 40.0], requires_grad=True)
    got = value.huber(prediction, torch.zeros(4), torch.zeros(4), delta=0.5)
    torch.testing.assert_close(got, torch.tensor([0.09, 1.75, 0.25, 39.75]))
    got.sum().backward()
    torch.testing.assert_close(prediction.grad, torch.tensor([0.6, -1.0, 1.0, 1.0]))


def test_quantile_loss_of_known_numbers():
    """Two quantiles, tau 1/4 and 3/4, kappa 1. Predictions (-0.5, 0.5), target 0: the mean is right, u = (0.5, -0.5),
    weights 1/4 and 1/4, h = 1/8: 4 x 1/4 x 1/8 = 1/8. Predictions (3, 0), target 1: mean 1.5, off by 0.5 (1/4);
    u = (-2, 1), weights 3/4 and 3/4, h = 1.5 and 0.5: the mean of 4.5 and 1.5 is 3."""
    prediction = torch.tensor([[-0.5, 0.5], [3.0, 0.0]])
    got = value.quantile(prediction, torch.tensor([0.0, 1.0]), torch.zeros(2), quantiles=2, kappa=1.0)
    torch.testing.assert_close(got, torch.tensor([0.125, 3.25]))


def test_minimising_the_quantile_loss_finds_the_quantiles():
    """Of targets spread evenly over (0, 1) the tau-quantile is tau."""
    target = ((torch.arange(500) + 0.5) / 500).double()
    theta = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        value.quantile(theta.expand(500, 8), target, target, quantiles=8, kappa=1e-3).mean().backward()
        optimiser.step()
    torch.testing.assert_close(theta.detach(), (torch.arange(8).double() + 0.5) / 8, rtol=0, atol=0.02)


def test_a_column_cannot_be_broadcast_against_a_row():
    """(B,) and (B, 1) would silently give (B, B)."""
    row, column, one = torch.zeros(4), torch.zeros(4, 1), torch.ones(())
    for attempt in (
        lambda: objective.ppo(row, column, one, one, dual=None),
        lambda: value.mse(column, row, row),
        lambda: value.clipped(row, row, column, eps=0.2),
    ):
        with pytest.raises(TypeCheckError):
            attempt()
