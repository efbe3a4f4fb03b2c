"""What a batched task is: a few pure functions of tensors, for any number of worlds on any device."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor


class Task:
    """``begin``, ``move`` and ``observe``; every row of a state [N, S] is one world. The dtype is that of what is given."""

    name: ClassVar[str]
    limit: ClassVar[int]  # steps after which an episode is truncated
    fps: ClassVar[float]  # steps a second
    draws: ClassVar[int]  # random numbers that an episode begins with
    observation_space: ClassVar[Box]
    action_space: ClassVar[Box]

    @abstractmethod
    def begin(self, u: Float[Tensor, "N D"]) -> Float[Tensor, "N S"]:
        """The first states of episodes, from uniform random numbers in [0, 1)."""

    @abstractmethod
    def move(
        self, state: Float[Tensor, "N S"], action: Float[Tensor, "N A"]
    ) -> tuple[Float[Tensor, "N S"], Float[Tensor, " N"], Bool[Tensor, " N"]]:
        """(state, reward, terminated) after one step."""

    @abstractmethod
    def observe(self, state: Float[Tensor, "N S"]) -> Float[Tensor, "N O"]:
        """What the policy sees of these states."""


def unbounded(size: int) -> Box:
    """Observations of so many entries."""
    return Box(-np.inf, np.inf, (size,), np.float32)


def bounded(size: int, high: float = 1.0) -> Box:
    """As many actions in [-high, high]."""
    return Box(-high, high, (size,), np.float32)


def never(state: Tensor) -> Bool[Tensor, " N"]:
    """No world terminates."""
    return torch.zeros(len(state), dtype=torch.bool, device=state.device)
