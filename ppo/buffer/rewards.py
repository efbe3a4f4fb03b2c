"""The scale of rewards: running statistics of the discounted return. float64, pure, checkpointed."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.buffer.gae import recurrence
from ppo.network.normaliser import Moments


class RewardScale(NamedTuple):
    """Statistics of the discounted return, by whose deviation rewards are divided (never centred)."""

    moments: Moments  # of the discounted return, over all sub-environments
    discounted: Tensor  # [N] float64: the running discounted return of each, 0 after any episode end
    largest: Tensor  # [] float64: of all |r| so far

    @staticmethod
    def empty(num_envs: int, device: torch.device | str = "cpu") -> "RewardScale":
        """Nothing seen yet."""
        zero = torch.zeros(num_envs, dtype=torch.float64, device=device)
        return RewardScale(Moments.empty(device=device), zero, zero.new_zeros(()))

    def update(
        self,
        reward: Float[Tensor, "T N"],
        done: Bool[Tensor, "T N"],
        mask: Bool[Tensor, "T N"] | tuple[()] = (),
        *,
        gamma: float,
    ) -> "RewardScale":
        """After a rollout: R <- gamma R + r each step, R <- 0 after any episode end, terminated or truncated alike. What
        ``mask`` leaves out enters no statistic."""
        going = (~done).double()
        decay = gamma * torch.cat([torch.ones_like(going[:1]), going[:-1]])
        seen = recurrence(reward.double(), decay, self.discounted)
        size = torch.where(mask, reward.abs(), 0) if isinstance(mask, Tensor) else reward.abs()
        largest = torch.maximum(self.largest, size.max())
        return RewardScale(self.moments.update(seen.flatten(), mask), seen[-1] * going[-1], largest)


class RewardNormaliser(NamedTuple):
    """What the critic learns of a reward: reward / std, clipped to +-clip, float32."""

    std: Tensor  # []
    clip: float

    @staticmethod
    def of(scale: RewardScale, *, clip: float) -> "RewardNormaliser":
        """By these statistics, as they are now."""
        return RewardNormaliser(scale.moments.std, clip)

    @staticmethod
    def identity(device: torch.device | str = "cpu") -> "RewardNormaliser":
        """Rewards as they are."""
        return RewardNormaliser(torch.ones((), device=device), math.inf)

    def __call__(self, reward: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return (reward / self.std).clamp(-self.clip, self.clip).float()
