"""A Gaussian policy whose deviation is an output of the actor, as its mean is."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ppo.network.actor_critic import Deviation, GaussianActor, Head, Layers, ObsSize, deviation, perceptrons
from ppo.network.distributions import Gaussian
from ppo.network.shared import takes


class StateStd(GaussianActor):
    """The actor's last layer gives mean and log std, [*B, 2 A]; the log std is kept in its range.

    Beyond a bound the clamp lets a hundredth of the gradient through: enough for the deviation to come back, too little
    for the hidden layers to be spent on pushing it further.
    """

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Gaussian:
        mean, raw = self.actor(obs, *memory).chunk(2, -1)
        log_std = raw.clamp(*self.log_std_range)
        beyond = raw - log_std
        return self.distribution(mean, log_std + 0.01 * (beyond - beyond.detach()))  # the second term is 0

    def numpy_head(self) -> Head:
        def head(features, output, noise):
            mean, raw = np.split(output, 2, -1)
            log_std = np.clip(raw, *self.log_std_range)
            return mean + np.exp(log_std) * noise, (mean, log_std)

        return head


@takes(layers=perceptrons, noise=deviation)
def state_std(
    obs_size: ObsSize, action_size: int, generator: torch.Generator, *, layers: Layers, noise: Callable[[], Deviation]
) -> StateStd:
    """``mlp``'s perceptrons, the deviation of every action a function of the state; at the start, the same in all.

    The options are those of ``perceptrons`` and ``deviation``.
    """
    start = noise()
    actor, critic = layers(obs_size, 2 * action_size, generator)
    *_, weight, bias = actor.parameters()  # of the last layer
    with torch.no_grad():
        weight[action_size:] = 0.0
        bias[action_size:] = start.log_std
    return StateStd(actor, critic, action_size, start.bounds, start.distribution)
