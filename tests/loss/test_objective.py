"""The policy objective, the clip range and the critic's loss: hand-computed values and gradients."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from ppo.loss import clip, objective, value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ppo_gives_the_reference_values_and_gradients(vectors, dtype):
    """The reference gives the gradient with respect to the ratio: that with respect to its logarithm, over r."""
    for case in vectors["ppo_clip"]:
        r = torch.tensor([case["r"]], dtype=dtype)
        log_ratio = r.log().requires_grad_()
        low, high = (torch.tensor(1 + s * case["eps"], dtype=dtype) for s in (-1, 1))
        got = objective.ppo(log_ratio, torch.tensor([case["A"]], dtype=dtype), low, high)
        got.sum().backward()
        assert got.item() == pytest.approx(case["obj"], rel=1e-6)
        if case["r"] != 1.0:  # there both branches of the minimum are equal, tested below
            assert (log_ratio.grad / r).item() == pytest.approx(case["grad"], rel=1e-6)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_the_gradient_at_ratio_one_is_the_plain_policy_gradient(advantage):
    log_ratio = torch.zeros(1, requires_grad=True)
    objective.ppo(log_ratio, torch.tensor([advantage]), torch.tensor(0.8), torch.tensor(1.2)).sum().backward()
    assert log_ratio.grad.item() == advantage


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (clip.fixed(0.5, None, None, None, eps=0.4), (0.6, 1.4)),
        (clip.asymmetric(0.5, None, None, None), (0.8, 1.28)),
        (clip.linear(0.0, None, None, None, eps=0.2, end=0.1), (0.8, 1.2)),
        (clip.linear(0.5, None, None, None, eps=0.2, end=0.1), (0.85, 1.15)),
        (clip.linear(1.0, None, None, None, eps=0.2, end=0.1), (0.9, 1.1)),
        (clip.none(0.5, None, None, None), (0.0, math.inf)),
    ],
)
def test_clip_ranges(got, expected):
    assert got == pytest.approx(expected)


def test_clipped_value_loss_takes_the_larger_of_the_two_losses():
    """old 0, eps 0.2. Prediction 1 counts as 0.2: for target 0, max(1, 0.04) = 1; for target 2, max(1, 3.24) = 3.24.
    Prediction 0.1 is within the range."""
    prediction, target = torch.tensor([1.0, 1.0, 0.1]), torch.tensor([0.0, 2.0, 1.0])
    got = value.clipped(prediction, target, torch.zeros(3), eps=0.2)
    torch.testing.assert_close(got, torch.tensor([1.0, 3.24, 0.81]))
    torch.testing.assert_close(value.mse(prediction, target, torch.zeros(3)), torch.tensor([1.0, 1.0, 0.81]))


def test_a_column_cannot_be_broadcast_against_a_row():
    """(B,) and (B, 1) would silently give (B, B)."""
    row, column, one = torch.zeros(4), torch.zeros(4, 1), torch.ones(())
    for attempt in (
        lambda: objective.ppo(row, column, one, one),
        lambda: value.mse(column, row, row),
        lambda: value.clipped(row, row, column),
    ):
        with pytest.raises(TypeCheckError):
            attempt()
