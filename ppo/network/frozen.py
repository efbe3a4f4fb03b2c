"""A policy that is no longer trained, with the observation statistics it was trained with."""

from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.network.actor_critic import ActorCritic
from ppo.network.distributions import Policy
from ppo.network.memory import Memory
from ppo.network.normaliser import ObsNormaliser


class Frozen(NamedTuple):
    """A policy whose parameters and statistics move no more."""

    network: ActorCritic
    normalise: ObsNormaliser

    @torch.no_grad()
    def __call__(self, obs: Float[Tensor, "*B O"]) -> Policy:
        """Its distributions at observations as the environment gives them; of a policy without memory."""
        return self.network.policy(self.normalise(obs))

    def tensors(self) -> dict[str, Tensor]:
        """All that it is made of, by name, and not a copy: writing them makes it another policy of the same shape."""
        network = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        return network | {"mean": self.normalise.mean, "std": self.normalise.std}

    def empty_memory(self, rows: int) -> Memory:
        """That of a policy that has seen nothing, beside its statistics."""
        return self.network.empty_memory(rows, self.normalise.mean.device)

    @torch.no_grad()
    def along(self, obs: Float[Tensor, "T N O"], done: Bool[Tensor, "T N"], memory: Memory) -> Policy:
        """Its distributions [T, N, ...] along a rollout, at whose start it had this ``memory`` [N, M]."""
        if not self.network.memory_size:
            policy, shape = self(obs.flatten(0, 1)), obs.shape[:2]
            return type(policy)(*(x.unflatten(0, shape) for x in policy))
        policy, shape = self.network.policy(*self._given(obs, done, memory)), obs.shape[1::-1]
        return type(policy)(*(x.unflatten(0, shape).transpose(0, 1) for x in policy))

    @torch.no_grad()
    def remember(self, obs: Float[Tensor, "T N O"], done: Bool[Tensor, "T N"], memory: Memory) -> Memory:
        """The memory after that rollout."""
        if not self.network.memory_size:
            return memory
        after = self.network.remember(*self._given(obs, done, memory))
        return torch.where(done[-1, :, None], 0.0, cast(Tensor, after))

    def _given(self, obs: Tensor, done: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """A rollout as one piece for each sub-environment: what a network with memory is called with."""
        first = torch.cat([torch.zeros_like(done[:1]), done[:-1]])
        return (self.normalise(obs.transpose(0, 1).flatten(0, 1)), cast(Tensor, memory), first.T.flatten())
