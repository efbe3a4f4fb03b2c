"""Running statistics, and what the networks see of an observation."""

import pytest
import torch

from ppo.network.normaliser import Moments, ObsNormaliser


def test_seen_in_parts_or_at_once_is_the_same():
    x = 100 + torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    moments = Moments.empty(3)
    for part in x.split([1, 99, 500]):
        moments = moments.update(part)
    torch.testing.assert_close(moments.mean, x.double().mean(0))
    torch.testing.assert_close(moments.std, x.double().std(0, correction=0))


def test_what_a_mask_leaves_out_was_never_seen():
    x = 100 + torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    mask, before = torch.arange(600) % 7 != 3, Moments.empty(3).update(x[:50] - 3)
    masked, without = before.update(torch.where(mask[:, None], x, 1e6), mask), before.update(x[mask])
    for a, b in zip(masked, without, strict=True):
        torch.testing.assert_close(a, b)
    every = before.update(x, torch.ones_like(mask))
    assert all(torch.equal(a, b) for a, b in zip(every, before.update(x), strict=True))  # to the bit


def test_update_leaves_the_old_statistics_alone():
    before = Moments.empty(2).update(torch.tensor([[1.0, 2.0], [3.0, 8.0]]))
    kept = [x.clone() for x in before]
    before.update(torch.randn(10, 2))
    assert all(torch.equal(x, y) for x, y in zip(before, kept, strict=True))


def test_observations_are_divided_by_the_deviation_and_clipped():
    """Mean 2 and 5, deviation 2 and 3 (variance 4 and 9)."""
    moments = Moments.empty(2).update(torch.tensor([[0.0, 2.0], [4.0, 8.0]]))
    out = ObsNormaliser.of(moments, clip=10.0)(torch.tensor([[6.0, -1.0], [1000.0, -1000.0]]))
    assert out.tolist() == [[2.0, -2.0], [10.0, -10.0]] and out.dtype == torch.float32


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -1e3 / 7])
def test_what_never_varied_has_deviation_one(constant):
    """Rounding makes the mean of equal numbers differ from them by 1e-17: not a deviation to divide by."""
    moments = Moments.empty()
    for _ in range(5):
        moments = moments.update(torch.full((1000,), constant, dtype=torch.float64))
    assert moments.std.item() == 1.0
    assert Moments.empty().std.item() == 1.0


def test_one_statistic_over_all_sub_environments():
    """A sub-environment that always observes 0 and one that always observes 2: mean 1, deviation 1."""
    obs = torch.tensor([[0.0], [2.0]]).expand(7, 2, 1)
    moments = Moments.empty(1).update(obs.flatten(0, 1))
    assert moments.mean.item() == 1 and moments.std.item() == 1 and moments.count.item() == 14


def test_float64_is_subtracted_from_before_it_is_rounded():
    """A large offset costs float64 nothing and float32 all that varies."""
    signal = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    obs = 1e6 + 1e-3 * signal
    moments = Moments.empty(1).update(obs)
    seen = ObsNormaliser.of(moments, torch.finfo(torch.float64).eps)(obs)
    torch.testing.assert_close(seen, ((signal - signal.mean()) / signal.std(correction=0)).float(), rtol=0, atol=1e-5)
    assert ObsNormaliser.of(Moments.empty(1).update(obs.float()))(obs.float()).abs().max() < 0.1
