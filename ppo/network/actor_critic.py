"""The actor-critic network: separate perceptrons for the policy's mean and the value, one log std per action."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ppo.types import Gaussian

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU}


class ActorCritic(nn.Module):
    """``policy(obs) -> Gaussian`` and ``value(obs) -> [*B]``; ``forward`` gives both."""

    def __init__(self, actor: nn.Module, critic: nn.Module, log_std: Tensor, log_std_range: tuple[float, float]):
        super().__init__()
        self.actor = actor
        self.critic = critic
        self.log_std = nn.Parameter(log_std)
        self.log_std_range = log_std_range

    def policy(self, obs: Float[Tensor, "*B O"]) -> Gaussian:
        mean = self.actor(obs)
        return Gaussian(mean, self.log_std.expand_as(mean))

    def value(self, obs: Float[Tensor, "*B O"]) -> Float[Tensor, "*B"]:
        return self.critic(obs).squeeze(-1)

    def forward(self, obs: Float[Tensor, "*B O"]) -> tuple[Gaussian, Float[Tensor, "*B"]]:
        return self.policy(obs), self.value(obs)

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Parameters that live in a box, by name. The optimiser projects onto it after each step.

        A projection keeps the gradient alive at the bound, where a clamp in the forward pass would lose it and a
        squashing function would let it fade.
        """
        return {"log_std": self.log_std_range}


def mlp(
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
    orthogonal: bool = False,
    policy_gain: float = 0.01,
) -> ActorCritic:
    """Separate actor and critic perceptrons.

    actor, critic: widths of the hidden layers. activation: tanh, relu, elu, silu or gelu.
    log_std: initial log standard deviation of every action, state independent, kept in [log_std_min, log_std_max].
    orthogonal: orthogonal weights (gain sqrt 2, policy output ``policy_gain``, value output 1) and zero biases;
        otherwise PyTorch's default, uniform in +-1/sqrt(fan_in).
    Raises ValueError on an unknown activation, a width below 1 or an initial log_std out of its range.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation={activation}: choose one of {', '.join(ACTIVATIONS)}")
    if min([*actor, *critic, 1]) < 1:
        raise ValueError(f"actor={actor}, critic={critic}: every width must be at least 1")
    if not log_std_min <= log_std <= log_std_max:
        raise ValueError(f"log_std={log_std} must lie in [log_std_min, log_std_max] = [{log_std_min}, {log_std_max}]")

    def perceptron(sizes: list[int], last_gain: float) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
            with torch.random.fork_rng(devices=[]):  # what it draws for itself is replaced below
                linear = nn.Linear(inputs, outputs)
            last = len(layers) == 2 * (len(sizes) - 2)
            with torch.no_grad():
                if orthogonal:
                    nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator=generator)
                    linear.bias.zero_()
                else:
                    bound = 1 / math.sqrt(inputs)
                    linear.weight.uniform_(-bound, bound, generator=generator)
                    linear.bias.uniform_(-bound, bound, generator=generator)
            layers += [linear] if last else [linear, ACTIVATIONS[activation]()]
        return nn.Sequential(*layers)

    return ActorCritic(
        perceptron([obs_size, *actor, action_size], policy_gain),
        perceptron([obs_size, *critic, 1], 1.0),
        torch.full((action_size,), log_std),
        (log_std_min, log_std_max),
    )
