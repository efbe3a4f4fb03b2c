"""The scale of rewards: running statistics of the discounted return."""

import pytest
import torch

from ppo.buffer.rewards import RewardNormaliser, RewardScale


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_the_discounted_return_starts_anew_after_any_episode_end(gamma):
    """Reward 1, an end every five steps. With gamma 1 the return runs 1 2 3 4 5 three times: mean 3, variance 2.
    An accumulator that survives truncation would run on to 5, 10, 15."""
    reward = torch.ones(15, 2)
    done = (torch.arange(15) % 5 == 4)[:, None].expand(15, 2)
    scale = RewardScale.empty(2).update(reward, done, gamma=gamma)
    assert scale.discounted.tolist() == [0, 0]
    once = torch.tensor([1.0, 2, 3, 4, 5] if gamma == 1 else [1.0, 1.5, 1.75, 1.875, 1.9375], dtype=torch.float64)
    assert scale.moments.mean.item() == pytest.approx(once.mean().item())
    assert scale.moments.std.item() == pytest.approx(once.std(correction=0).item())


def test_the_running_return_continues_over_the_seam_of_two_rollouts():
    reward, done = torch.ones(6, 1), (torch.arange(6) == 4)[:, None]
    whole = RewardScale.empty(1).update(reward, done, gamma=0.9)
    halves = RewardScale.empty(1).update(reward[:3], done[:3], gamma=0.9).update(reward[3:], done[3:], gamma=0.9)
    torch.testing.assert_close(halves.discounted, whole.discounted)
    torch.testing.assert_close(halves.moments.std, whole.moments.std)
    assert whole.discounted.item() == 1


def test_a_masked_step_enters_no_statistic_and_ends_the_return():
    """1, 1, masked, 1, 1: the return runs 1 2, 1 2 and not on, whatever stands where nothing is."""
    reward, broken = torch.tensor([[1.0], [1], [1e6], [1], [1]]), (torch.arange(5) == 2)[:, None]
    scale = RewardScale.empty(1).update(reward, broken, ~broken, gamma=1.0)
    assert scale.moments.count == 4 and scale.discounted.item() == 2
    assert scale.moments.mean.item() == 1.5 and scale.moments.std.item() == 0.5


def test_rewards_are_divided_by_the_deviation_never_centred():
    """The returns 1..5 have variance 2."""
    done = (torch.arange(5) == 4)[:, None]
    scale = RewardScale.empty(1).update(torch.ones(5, 1), done, gamma=1.0)
    reward = RewardNormaliser.of(scale, clip=10.0)(torch.tensor([2.0, -100.0]))
    torch.testing.assert_close(reward, torch.tensor([2 / 2**0.5, -10.0]))
    assert RewardNormaliser.identity()(torch.tensor([2.0, -100.0])).tolist() == [2.0, -100.0]


def test_the_largest_reward_is_that_of_all_rollouts_but_for_masked_steps():
    broken = torch.tensor([[False], [True]])
    scale = RewardScale.empty(1).update(torch.tensor([[-3.0], [1e6]]), broken, ~broken, gamma=0.9)
    assert scale.largest == 3 and scale.largest.dtype == torch.float64
    assert scale.update(torch.tensor([[2.0]]), torch.tensor([[False]]), gamma=0.9).largest == 3
