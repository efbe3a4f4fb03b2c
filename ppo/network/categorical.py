"""A policy over discrete actions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppo.network.actor_critic import ActorCritic, Head, Layers, ObsSize, perceptrons
from ppo.network.distributions import Categorical
from ppo.network.shared import takes


class CategoricalActor(ActorCritic):
    """The actor's last layer gives the logits, [*B, n]."""

    def __init__(self, actor: nn.Sequential, critic: nn.Module, actions: int):
        super().__init__(actor, critic)
        self.actions = actions

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Categorical:
        return Categorical(self.actor(obs, *memory))

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Gumbel noise [N, n] a step: the largest of logits + noise is an action of these probabilities."""
        draws = torch.empty(steps, rows, self.actions).exponential_(generator=generator)
        return (-draws.log()).to(self.device).unbind()

    def sample(
        self, obs: Float[Tensor, "N O"], noise: Float[Tensor, "N n"], *memory: Tensor
    ) -> tuple[Int[Tensor, " N"], Categorical]:
        policy = self.policy(obs, *memory)
        return (policy.logits + noise).argmax(-1), policy

    def numpy_head(self) -> Head:
        return lambda features, logits, noise: ((logits + noise).argmax(-1), (logits,))


@takes(layers=perceptrons)
def categorical(obs_size: ObsSize, action_size: int, generator: torch.Generator, *, layers: Layers) -> CategoricalActor:
    """``mlp``'s perceptrons for one of ``action_size`` discrete actions. The options are those of ``perceptrons``."""
    actor, critic = layers(obs_size, action_size, generator)
    return CategoricalActor(actor, critic, action_size)
