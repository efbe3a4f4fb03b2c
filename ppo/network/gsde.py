"""Generalised state-dependent exploration: noise that is a function of the state, and the same for several steps.

Raffin, Kober, Stulp: "Smooth Exploration for Robotic Reinforcement Learning" (2021).
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, cast

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor, nn

from ppo.network.actor_critic import ActorCritic, Deviation, Head, Layers, ObsSize, deviation, perceptrons
from ppo.network.distributions import Gaussian
from ppo.network.shared import takes


class Gsde(ActorCritic):
    """The action is mu(s) + theta^T phi(s) with theta_ij ~ N(0, sigma_ij^2), phi the actor's last hidden layer.

    At one state that is a diagonal Gaussian with variance_j = sum_i phi_i^2 sigma_ij^2, so KL and ratio are exact as
    ever. Only acting differs: theta is drawn for each sub-environment when a rollout starts and anew every ``resample``
    steps; in between, the same state meets the same noise.

    phi has one feature more, always 1, of the fixed deviation ``floor``: where all others are 0 there is still a
    distribution.
    """

    def __init__(
        self,
        actor: nn.Sequential,
        critic: nn.Module,
        log_std: Float[Tensor, "H A"],
        log_std_range: tuple[float, float],
        distribution: type[Gaussian],
        *,
        resample: int,
        learn_features: bool,
        floor: float,
    ):
        super().__init__(actor, critic)
        self.log_std = nn.Parameter(log_std)
        self.log_std_range, self.distribution = log_std_range, distribution
        self.resample, self.learn_features, self.floor = resample, learn_features, floor

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Gaussian:
        return self._given(self.actor[:-1](obs, *memory))

    def _given(self, features: Float[Tensor, "*B H"]) -> Gaussian:
        phi = features if self.learn_features else features.detach()
        variance = phi.square() @ torch.exp(2 * self.log_std) + self.floor**2
        return self.distribution(self.actor[-1](features), 0.5 * torch.log(variance))

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """theta of every step [N, H + 1, A], its last row that of the feature that is always 1."""
        log_std = self.log_std.detach()
        sigma = torch.cat([torch.exp(log_std), log_std.new_full((1, log_std.shape[1]), self.floor)])
        draws = torch.randn(math.ceil(steps / self.resample), rows, *sigma.shape, generator=generator)
        scaled = draws.to(self.device) * sigma
        return [draw for draw in scaled.unbind() for _ in range(self.resample)][:steps]

    def sample(
        self, obs: Float[Tensor, "N O"], noise: Float[Tensor, "N F A"], *memory: Tensor
    ) -> tuple[Float[Tensor, "N A"], Gaussian]:
        features = self.actor[:-1](obs, *memory)
        policy = self._given(features)
        return policy.mean + (features[:, None] @ noise[:, :-1]).squeeze(1) + noise[:, -1], policy

    def numpy_head(self) -> Head:
        variances = np.exp(2 * self.log_std.detach().numpy())

        def head(features, mean, noise):
            log_std = 0.5 * np.log(np.square(features) @ variances + self.floor**2)
            return mean + (features[:, None] @ noise[:, :-1])[:, 0] + noise[:, -1], (mean, log_std)

        return head

    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"log_std": self.log_std_range}


@takes(layers=perceptrons, noise=deviation)
def gsde(
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    *,
    layers: Layers,
    noise: Callable[[], Deviation],
    resample: Annotated[int, Ge(1)],
    learn_features: bool,
    floor: Annotated[float, Gt(0)],
) -> Gsde:
    """A deviation for each pair of a last hidden unit and an action, beside ``mlp``'s perceptrons.

    resample: steps for which an exploration matrix theta is kept. learn_features: let the deviation's gradient reach
    the hidden layers (the paper found it better not to). floor: smallest deviation of an action. The others are those
    of ``perceptrons`` and, for every entry of theta, of ``deviation``.
    Raises ValueError where there is no hidden layer.
    """
    start = noise()
    actor, critic = layers(obs_size, action_size, generator)
    if len(actor) == 1:
        raise ValueError("actor=[]: gsde needs a hidden layer, whose units are the features of the noise")
    features = cast(nn.Linear, actor[-1]).in_features
    return Gsde(
        actor,
        critic,
        torch.full((features, action_size), start.log_std),
        start.bounds,
        start.distribution,
        resample=resample,
        learn_features=learn_features,
        floor=floor,
    )
