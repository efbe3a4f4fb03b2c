"""A policy that is no longer trained, with the observation statistics it was trained with."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.network.actor_critic import ActorCritic
from ppo.network.distributions import Policy
from ppo.network.normaliser import ObsNormaliser


class Frozen(NamedTuple):
    """A policy whose parameters and statistics move no more."""

    network: ActorCritic
    normalise: ObsNormaliser

    @torch.no_grad()
    def __call__(self, obs: Float[Tensor, "*B O"]) -> Policy:
        """Its distributions at observations as the environment gives them."""
        return self.network.policy(self.normalise(obs))
