"""Advantage normalisation: reference numbers, invariances, masks, and sets without spread."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppo.config.options import option

NAMES = ("minibatch", "global", "group", "robust")
EMA = option("norm", "ema")
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
ALL = pytest.mark.parametrize("name", NAMES)


def apply(name, x, group=None, mask=None):
    x = torch.as_tensor(x)
    group = torch.zeros(x.shape, dtype=torch.int64) if group is None else torch.as_tensor(group)
    mask = torch.ones(x.shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
    return option("norm", name)(x, group, mask, None)[0]


@BOTH
def test_reference_numbers(vectors, dtype):
    table = vectors["advantage_norm"]
    x = torch.tensor([table["x"]], dtype=dtype)
    expected = {
        "none": table["x"],
        "minibatch": table["standardised"],
        "global": table["standardised"],
        "group": table["standardised"],
        "robust": table["robust"],
    }
    for name, numbers in expected.items():
        torch.testing.assert_close(apply(name, x), torch.tensor([numbers], dtype=dtype), msg=name)
    groups = table["groups"]
    got = apply("group", torch.tensor([groups["x"]], dtype=dtype), [groups["group"]])
    torch.testing.assert_close(got, torch.tensor([groups["standardised"]], dtype=dtype))


def test_each_minibatch_is_one_set_and_the_rollout_another():
    x = [[1.0, 3.0], [10.0, 30.0]]
    half = 0.5**0.5
    torch.testing.assert_close(apply("minibatch", x), torch.tensor([[-half, half], [-half, half]]))
    assert apply("global", x)[1, 0].item() == pytest.approx((10 - 11) / 13.241350, rel=1e-5)


def test_group_equals_an_explicit_loop_over_groups():
    g = torch.Generator().manual_seed(0)
    x, group = 5 + 3 * torch.randn(8, 50, generator=g), torch.randint(-2, 5, (8, 50), generator=g)
    mask = torch.rand(8, 50, generator=g) < 0.8
    expected = torch.zeros_like(x)
    for i in group.unique():
        inside = (group == i) & mask
        expected[inside] = (x[inside] - x[inside].mean()) / x[inside].std()
    torch.testing.assert_close(apply("group", x, group, mask), expected)


@ALL
@given(a=st.floats(1e-3, 1e3), b=st.floats(-1e3, 1e3), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_shifting_and_stretching_changes_nothing(name, a, b, seed):
    g = torch.Generator().manual_seed(seed)
    x, group = torch.randn(4, 25, generator=g, dtype=torch.float64), torch.randint(0, 3, (4, 25), generator=g)
    torch.testing.assert_close(apply(name, a * x + b, group), apply(name, x, group), rtol=1e-6, atol=1e-6)


@BOTH
@ALL
@pytest.mark.parametrize("constant", [0.0, 0.1, -3e4])
def test_a_set_without_spread_comes_out_as_zeros(name, dtype, constant):
    """Constant advantages; a group of one; a minibatch of one."""
    assert apply(name, torch.full((3, 7), constant, dtype=dtype)).abs().max() == 0
    assert apply(name, torch.full((1, 1), constant, dtype=dtype)).item() == 0
    assert apply("group", torch.tensor([[constant, 7.0, 9.0]], dtype=dtype), [[1, 2, 2]])[0, 0].item() == 0
    assert apply("minibatch", torch.tensor([[constant], [7.0]], dtype=dtype)).abs().max() == 0


@pytest.mark.parametrize("name", ["none", "ema", *NAMES])
def test_masked_samples_enter_no_statistic_and_come_out_as_zero(name):
    g = torch.Generator().manual_seed(0)
    x, group = torch.randn(4, 8, generator=g), torch.randint(0, 2, (4, 8), generator=g)
    mask = torch.rand(4, 8, generator=g) < 0.6
    other = torch.where(mask, x, 1e6)
    assert torch.equal(apply(name, x, group, mask), apply(name, other, group, mask))
    assert apply(name, other, group, mask)[~mask].abs().max() == 0
    assert torch.isfinite(apply(name, x, group, torch.zeros_like(mask))).all()


@BOTH
@pytest.mark.parametrize("factor", [1e4, 1e8])
def test_robust_hardly_moves_when_one_sample_in_a_hundred_is_wild(factor, dtype):
    x = torch.randn(10, 1000, generator=torch.Generator().manual_seed(0), dtype=dtype)
    wild = x.clone().flatten()
    wild[::100] *= factor
    before, after = apply("robust", x), apply("robust", wild.view_as(x))
    tame = torch.ones_like(x, dtype=torch.bool).flatten()
    tame[::100] = False
    moved = (after - before).flatten()[tame].abs().mean() / before.flatten()[tame].abs().mean()
    assert moved < 0.05


def test_robust_falls_back_on_the_deviation_where_most_samples_are_equal():
    """Median 0, IQR 0; sample std of (0 x 7, 8) is 8 / sqrt(8) = 2.8284."""
    assert apply("robust", [[0.0] * 7 + [8.0]])[0, 7].item() == pytest.approx(2.8284271)


def test_ema_divides_by_the_running_range_of_percentiles(vectors):
    """Alone the reference's percentile scale; then 0.9 of what was and 0.1 of what is; small ranges do not count."""
    table = vectors["advantage_norm"]
    x = torch.tensor([table["x"]], dtype=torch.float64)
    group, mask = torch.zeros(x.shape, dtype=torch.int64), torch.ones(x.shape, dtype=torch.bool)
    out, scale = EMA(x, group, mask, None)
    torch.testing.assert_close(out[0], torch.tensor(table["over_p5_to_p95"], dtype=torch.float64))
    assert scale.item() == pytest.approx(7.6)  # p5 1.2, p95 8.8
    out, scale = EMA(x, group, mask, 2.0)
    assert scale.item() == pytest.approx(0.9 * 2.0 + 0.1 * 7.6)
    torch.testing.assert_close(out, x / scale)
    out, scale = EMA(x / 100, group, mask, None)
    assert torch.equal(out, x / 100) and scale.item() == pytest.approx(0.076)


@pytest.mark.parametrize("last", [None, 2.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_ema_forgets_a_range_that_is_not_finite_but_does_not_hide_it(bad, last):
    x, group = torch.tensor([[1.0, bad]]), torch.zeros(1, 2, dtype=torch.int64)
    out, scale = EMA(x, group, torch.ones(1, 2, dtype=torch.bool), last)
    assert not torch.isfinite(out).all()
    good, after = EMA(torch.tensor([[0.0, 4.0]]), group, torch.ones(1, 2, dtype=torch.bool), scale.item())
    assert torch.isfinite(good).all() and math.isfinite(after.item())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["none", "ema", *NAMES])
def test_a_non_finite_advantage_is_never_hidden(name, bad):
    """Zeros in its place would let training go on without a signal and without a word."""
    assert not torch.isfinite(apply(name, [[1.0, 2.0, bad, 4.0]])).all()
