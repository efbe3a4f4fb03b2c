"""Policies over discrete actions: one of n, or several at once."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ppo.network.actor_critic import ActorCritic, Head, Layers, ObsSize, perceptrons
from ppo.network.distributions import Categorical, Several
from ppo.network.shared import takes

ActionSize = int | tuple[int, ...]  # how many actions there are to choose from; of several at once, for each


class CategoricalActor(ActorCritic):
    """The actor's last layer gives the logits, [*B, n]."""

    def __init__(self, actor: nn.Sequential, critic: nn.Module, actions: int):
        super().__init__(actor, critic)
        self.actions = actions

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Categorical | Several:
        return Categorical(self.actor(obs, *memory))

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Gumbel noise [N, n] a step: the largest of logits + noise is an action of these probabilities."""
        draws = torch.empty(steps, rows, self.actions).exponential_(generator=generator)
        return (-draws.log()).to(self.device).unbind()

    def sample(
        self, obs: Float[Tensor, "N O"], noise: Float[Tensor, "N *n"], *memory: Tensor
    ) -> tuple[Int[Tensor, " N *K"], Categorical | Several]:
        policy = self.policy(obs, *memory)
        return (policy.logits + noise).argmax(-1), policy

    def numpy_head(self) -> Head:
        return lambda features, logits, noise: ((logits + noise).argmax(-1), (logits,))


class SeveralActor(CategoricalActor):
    """The actor's last layer gives the logits of all K actions in a row, [*B, n_1 + ... + n_K]."""

    def __init__(self, actor: nn.Sequential, critic: nn.Module, sizes: Sequence[int]):
        super().__init__(actor, critic, sum(sizes))
        self.sizes, self.most = tuple(sizes), max(sizes)

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Several:
        rows = self.actor(obs, *memory).split(self.sizes, -1)
        return Several(torch.stack([F.pad(x, (0, self.most - x.shape[-1]), value=-math.inf) for x in rows], -2))

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Gumbel noise [N, K, n] a step."""
        draws = torch.empty(steps, rows, len(self.sizes), self.most).exponential_(generator=generator)
        return (-draws.log()).to(self.device).unbind()

    def numpy_head(self) -> Head:
        ends = np.cumsum(self.sizes)[:-1]

        def head(features, output, noise):
            logits = np.full(noise.shape, -np.inf, np.float32)
            for k, x in enumerate(np.split(output, ends, -1)):
                logits[:, k, : x.shape[-1]] = x
            return (logits + noise).argmax(-1), (logits,)

        return head


@takes(layers=perceptrons)
def categorical(
    obs_size: ObsSize, action_size: ActionSize, generator: torch.Generator, *, layers: Layers
) -> CategoricalActor:
    """``mlp``'s perceptrons for one of ``action_size`` discrete actions, or for several at once, independent of each other.

    The options are those of ``perceptrons``.
    """
    if isinstance(action_size, int):
        return CategoricalActor(*layers(obs_size, action_size, generator), action_size)
    return SeveralActor(*layers(obs_size, sum(action_size), generator), action_size)
