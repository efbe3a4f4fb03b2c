"""The actor-critic networks: what all have in common, and the plain one with a log std per action."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
import torch
from annotated_types import Ge, IsFinite
from jaxtyping import Float
from torch import Tensor, nn

from ppo.network.distributions import Gaussian, Policy, Squashed
from ppo.network.memory import Memory
from ppo.network.shared import takes

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU}

# (features [N, H], what the last layer makes of them, noise) -> (action, the distribution's parameters)
Head = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, tuple[np.ndarray, ...]]]


class ActorCritic(nn.Module):
    """``policy(obs)``, the distribution of actions, and ``value(obs) -> [*B]``; ``forward`` gives both.

    ``*memory``: of a network that has one, ``memory`` and perhaps ``first`` as in ``ppo.network.memory``.
    """

    actor: nn.Sequential
    critic: nn.Module
    quantiles: int = 1  # outputs of the critic; see ``widen``
    memory_size: int = 0  # numbers that are carried from step to step
    chunk: int = 1  # samples in a row that are learned from together

    def __init__(self, actor: nn.Sequential, critic: nn.Module):
        super().__init__()
        self.actor, self.critic = actor, critic

    @abstractmethod
    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Policy:
        """The distribution of actions at these (normalised) observations."""

    @abstractmethod
    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """What ``sample`` takes in each step of a rollout of ``rows`` sub-environments, all drawn at once, by a generator of
        the host; on the network's device."""

    @abstractmethod
    def sample(self, obs: Float[Tensor, "N O"], noise: Tensor, *memory: Tensor) -> tuple[Tensor, Policy]:
        """One action a row, and the distribution it is from."""

    @abstractmethod
    def numpy_head(self) -> Head:
        """``sample`` from the last hidden layer on, in numpy and with the parameters of now."""

    def value(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Float[Tensor, "*B"]:
        """The expected return: what the critic says, or the mean of its quantiles."""
        return self.critic(obs, *memory).mean(-1)

    def remember(self, obs: Tensor, memory: Any, first: Tensor | None = None) -> Any:
        """The memory after these observations [C L, O], the last of each piece."""
        return memory

    def empty_memory(self, rows: int, device: torch.device | None = None) -> Memory:
        """The memory [N, M] of an agent that has seen nothing."""
        return torch.zeros(rows, self.memory_size, device=device) if self.memory_size else ()

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def forward(
        self, obs: Float[Tensor, "*B O"], *memory: Tensor, actor: bool = True, critic: bool = True
    ) -> tuple[Policy | None, Tensor | None]:
        """The policy, and what the critic's loss is made of: values [*B], or their quantiles [*B, Q] after ``widen``.

        Without ``actor`` or ``critic``, None in its place.
        """
        policy = self.policy(obs, *memory) if actor else None
        return policy, self.critic(obs, *memory).squeeze(-1) if critic else None

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Parameters that live in a box, by name. The optimiser projects onto it after each step.

        A projection keeps the gradient alive at the bound, where a clamp in the forward pass would lose it and a
        squashing function would let it fade.
        """
        return {}


class GaussianActor(ActorCritic):
    """A Gaussian whose noise is drawn anew in each step, independent of the state."""

    def __init__(
        self,
        actor: nn.Sequential,
        critic: nn.Module,
        actions: int,
        log_std_range: tuple[float, float],
        distribution: type[Gaussian],
    ):
        super().__init__(actor, critic)
        self.actions, self.log_std_range, self.distribution = actions, log_std_range, distribution

    @abstractmethod
    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Gaussian: ...

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        return torch.randn(steps, rows, self.actions, generator=generator).to(self.device).unbind()

    def sample(
        self, obs: Float[Tensor, "N O"], noise: Float[Tensor, "N A"], *memory: Tensor
    ) -> tuple[Float[Tensor, "N A"], Gaussian]:
        policy = self.policy(obs, *memory)
        return policy.mean + policy.log_std.exp() * noise, policy


class Diagonal(GaussianActor):
    """A Gaussian whose deviations are parameters of their own, the same in every state."""

    def __init__(
        self,
        actor: nn.Sequential,
        critic: nn.Module,
        log_std: Float[Tensor, " A"],
        log_std_range: tuple[float, float],
        distribution: type[Gaussian],
    ):
        super().__init__(actor, critic, len(log_std), log_std_range, distribution)
        self._start(log_std)

    def _start(self, log_std: Float[Tensor, " A"]) -> None:
        self.log_std = nn.Parameter(log_std)

    def _log_std(self) -> Float[Tensor, " A"]:
        return self.log_std

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Gaussian:
        return self.around(self.actor(obs, *memory))

    def around(self, mean: Float[Tensor, "*B A"]) -> Gaussian:
        """The distribution with this mean."""
        return self.distribution(mean, self._log_std().expand_as(mean))

    def numpy_head(self) -> Head:
        log_std = self._log_std().detach().numpy().copy()
        scale = np.exp(log_std)
        return lambda features, mean, noise: (mean + scale * noise, (mean, log_std))

    def bounds(self) -> dict[str, tuple[float, float]]:
        return {"log_std": self.log_std_range}


class Scalar(Diagonal):
    """A ``Diagonal`` whose parameters are the deviations themselves: a step of the optimiser moves a deviation by about the
    learning rate, not by a share of itself. What rsl_rl calls ``std_type="scalar"``."""

    def _start(self, log_std: Float[Tensor, " A"]) -> None:
        self.std = nn.Parameter(log_std.exp())

    def _log_std(self) -> Float[Tensor, " A"]:
        return self.std.log()

    def bounds(self) -> dict[str, tuple[float, float]]:
        low, high = self.log_std_range
        return {"std": (math.exp(low), math.exp(high))}


def widen(network: ActorCritic, outputs: int) -> None:
    """Give the critic that many outputs, each starting as the one it had. ValueError where its last layer is not linear."""
    last = cast(nn.Sequential, network.critic)[-1]
    if not isinstance(last, nn.Linear):
        if outputs == 1:
            return
        raise ValueError("its critic gives one number; value=quantile needs one whose last layer is linear")
    network.quantiles = outputs
    last.out_features = outputs
    last.weight = nn.Parameter(last.weight.detach().repeat(outputs, 1))
    last.bias = nn.Parameter(last.bias.detach().repeat(outputs))


class Deviation(NamedTuple):
    """How a Gaussian policy's deviations start and what they may become."""

    log_std: float  # of every action, or of every entry of theta in ``gsde``, at the start
    bounds: tuple[float, float]  # of the log standard deviation
    distribution: type[Gaussian]


ObsSize = int | tuple[int, int]  # columns that the actor and the critic see; one number: both see all
Layers = Callable[[ObsSize, int, torch.Generator], tuple[nn.Sequential, nn.Sequential]]


def perceptrons(
    obs_size: ObsSize,
    outputs: int,
    generator: torch.Generator,
    *,
    actor: list[Annotated[int, Ge(1)]],
    critic: list[Annotated[int, Ge(1)]],
    activation: Literal["tanh", "relu", "elu", "silu", "gelu"],
    orthogonal: bool,
    policy_gain: Annotated[float, Ge(0)],
) -> tuple[nn.Sequential, nn.Sequential]:
    """(actor, critic): linear layers with activations between them; the critic has one output.

    actor, critic: widths of the hidden layers.
    orthogonal: orthogonal weights (gain sqrt 2, policy output ``policy_gain``, value output 1) and zero biases;
        otherwise PyTorch's default, uniform in +-1/sqrt(fan_in).
    """
    build = partial(_perceptron, ACTIVATIONS[activation], generator, orthogonal=orthogonal)
    seen, known = obs_size if isinstance(obs_size, tuple) else (obs_size, obs_size)
    return build([seen, *actor, outputs], last_gain=policy_gain), build([known, *critic, 1], last_gain=1.0)


def deviation(
    *, log_std: IsFinite[float], log_std_min: IsFinite[float], log_std_max: IsFinite[float], squash: bool
) -> Deviation:
    """A log standard deviation that starts at ``log_std`` and is kept in [log_std_min, log_std_max].

    squash: the entropy is that of the actions after action=tanh, see ``ppo.network.distributions.Squashed``.
    Raises ValueError where it would start out of its range.
    """
    if not log_std_min <= log_std <= log_std_max:
        raise ValueError(
            f"log_std={log_std} must lie in [log_std_min, log_std_max] = [{log_std_min}, {log_std_max}]; set these as well"
        )
    return Deviation(log_std, (log_std_min, log_std_max), Squashed if squash else Gaussian)


@takes(layers=perceptrons, noise=deviation)
def mlp(
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    *,
    layers: Layers,
    noise: Callable[[], Deviation],
    std_type: Literal["log", "scalar"],
) -> Diagonal:
    """Separate actor and critic perceptrons; one deviation for each action, the same in every state.

    std_type: whether the parameter is the logarithm of the deviation, or the deviation. The other options are those of
    ``perceptrons`` and ``deviation``.
    """
    start = noise()
    actor, critic = layers(obs_size, action_size, generator)
    log_std = torch.full((action_size,), start.log_std)
    kind = Scalar if std_type == "scalar" else Diagonal
    return kind(actor, critic, log_std, start.bounds, start.distribution)


def _perceptron(
    activation: type[nn.Module], generator: torch.Generator, sizes: list[int], *, orthogonal: bool, last_gain: float
) -> nn.Sequential:
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
        layers += [linear] if last else [linear, activation()]
    return nn.Sequential(*layers)
