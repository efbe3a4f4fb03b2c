"""A Gaussian policy whose deviation is an output of the actor, as its mean is."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ppo.network.actor_critic import GaussianActor, Head, check_log_std, perceptrons
from ppo.network.distributions import Gaussian, Squashed


class StateStd(GaussianActor):
    """The actor's last layer gives mean and log std, [*B, 2 A]; the log std is kept in its range.

    Beyond a bound the clamp lets a hundredth of the gradient through: enough for the deviation to come back, too little
    for the hidden layers to be spent on pushing it further.
    """

    def policy(self, obs: Float[Tensor, "*B O"]) -> Gaussian:
        mean, raw = self.actor(obs).chunk(2, -1)
        log_std = raw.clamp(*self.log_std_range)
        beyond = raw - log_std
        return self.distribution(mean, log_std + 0.01 * (beyond - beyond.detach()))  # the second term is 0

    def numpy_head(self) -> Head:
        def head(features, output, noise):
            mean, raw = np.split(output, 2, -1)
            log_std = np.clip(raw, *self.log_std_range)
            return mean + np.exp(log_std) * noise, (mean, log_std)

        return head


def state_std(
    obs_size: int,
    action_size: int,
    generator: torch.Generator,
    *,
    actor: list[int] = [256, 256],
    critic: list[int] = [256, 256],
    activation: str = "relu",
    log_std: float = -1.0,
    log_std_min: float = -10.0,
    log_std_max: float = 2.0,
    squash: bool = False,
    orthogonal: bool = False,
    policy_gain: float = 0.01,
) -> StateStd:
    """``mlp``'s perceptrons, the deviation of every action a function of the state.

    log_std: what it starts with, the same in every state. The others and the errors are those of ``mlp``.
    """
    check_log_std(log_std, log_std_min, log_std_max)
    networks = perceptrons(
        *(obs_size, 2 * action_size, generator, actor, critic),
        activation=activation,
        orthogonal=orthogonal,
        policy_gain=policy_gain,
    )
    *_, weight, bias = networks[0].parameters()  # of the last layer
    with torch.no_grad():
        weight[action_size:] = 0.0
        bias[action_size:] = log_std
    return StateStd(*networks, action_size, (log_std_min, log_std_max), Squashed if squash else Gaussian)
