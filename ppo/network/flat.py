"""All parameters of a network as one flat buffer ``[P]``, so that a gradient step is one function of one vector."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from ppo.network.actor_critic import ActorCritic
from ppo.network.distributions import Policy
from ppo.network.memory import Memory


@runtime_checkable
class HasObs(Protocol):
    """What the network is given: a batch, demonstrations, or ``Inputs``."""

    @property
    def obs(self) -> Tensor: ...


class Inputs(NamedTuple):
    """Normalised observations, where there is nothing else but what a network with memory needs."""

    obs: Float[Tensor, "*B O"]
    memory: Memory = ()  # [*B, M] before each sample
    first: Tensor | tuple[()] = ()  # [*B] bool: an episode begins


class Following(NamedTuple):
    """What follows each sample, normalised; and for a network with memory the sample itself."""

    next_obs: Float[Tensor, "*B O"]
    obs: Tensor | tuple[()] = ()  # [*B, O]
    memory: Memory = ()  # [*B, M] before it


class Evaluate(NamedTuple):
    """``evaluate(params, batch) -> (policy, prediction)``: the network at these parameters and these observations.

    The one place through which whatever learns or measures sees the network. ``prediction`` is what the critic's loss is
    made of: values ``[*B]``, or quantiles ``[*B, Q]``; ``expected`` makes values of it. Of a network with memory the
    samples are pieces of ``chunk`` in a row; each starts with the memory before its first sample.
    """

    network: ActorCritic
    cut: Callable[[Tensor], dict[str, Tensor]]

    def __call__(self, params: Float[Tensor, " P"], batch: HasObs) -> tuple[Policy, Tensor]:
        return functional_call(self.network, self.cut(params), self._given(batch))

    def policy(self, params: Float[Tensor, " P"], batch: HasObs) -> Policy:
        """The actor alone."""
        return functional_call(self.network, self.cut(params), self._given(batch), {"critic": False})[0]

    def value(self, params: Float[Tensor, " P"], batch: HasObs) -> Tensor:
        """The critic alone: the expected return ``[*B]``."""
        return self.expected(functional_call(self.network, self.cut(params), self._given(batch), {"actor": False})[1])

    def value_after(self, params: Float[Tensor, " P"], step: Following) -> Tensor:
        """The critic's value ``[*B]`` of what follows each sample; a network with memory is shown both, one by one."""
        if not self.network.memory_size:
            return self.value(params, Inputs(step.next_obs))
        both = torch.stack([cast(Tensor, step.obs), step.next_obs], -2).flatten(-3, -2)
        given = (both, step.memory)
        value = self.expected(functional_call(self.network, self.cut(params), given, {"actor": False})[1])
        return value.unflatten(-1, (-1, 2))[..., 1]

    def _given(self, batch: HasObs) -> tuple[Tensor, ...]:
        """What the network is called with."""
        if not self.network.memory_size:
            return (batch.obs,)
        given = cast(Any, batch)
        return (given.obs, given.memory[..., :: self.network.chunk, :], given.first)

    def expected(self, prediction: Tensor) -> Tensor:
        """The expected return ``[*B]`` of what the critic predicts: the prediction, or the mean of its quantiles."""
        return prediction if self.network.quantiles == 1 else prediction.mean(-1)


def build_evaluate(network: ActorCritic) -> Evaluate:
    """``Evaluate`` of a network whose parameters come as one flat buffer, see ``flatten``."""
    return Evaluate(network, unflatten(network))


def constants(network: nn.Module) -> dict[str, Tensor] | tuple[()]:
    """What a network holds beside its parameters, by name: the buffers that its ``state_dict`` has; () where it has none.
    They do not move, but without them the parameters are another policy."""
    trained = dict(network.named_parameters())
    return {name: x for name, x in network.state_dict().items() if name not in trained} or ()


def flatten(network: nn.Module) -> Float[Tensor, " P"]:
    """Move the network's parameters into one buffer and make them views of it: writing the buffer moves the network."""
    parameters = list(network.parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    for p, view in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.data = view.view(p.shape)
        p.requires_grad_(False)  # gradients are taken with respect to the buffer, by torch.func
    return flat


def unflatten(network: nn.Module) -> Callable[[Float[Tensor, " P"]], dict[str, Tensor]]:
    """The function that cuts a flat buffer into this network's named parameters (views, no copy)."""
    names, shapes = zip(*((name, p.shape) for name, p in network.named_parameters()), strict=True)
    sizes = [math.prod(shape) for shape in shapes]

    def cut(flat: Float[Tensor, " P"]) -> dict[str, Tensor]:
        return {n: x.view(s) for n, x, s in zip(names, flat.split(sizes), shapes, strict=True)}

    return cut


def box(network: ActorCritic) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
    """The (low, high) that each entry of the flat buffer is projected onto; infinite where the network names none."""
    bounds = network.bounds()
    low, high = (
        torch.cat(
            [
                torch.full_like(p, bounds.get(n, (-math.inf, math.inf))[i]).flatten()
                for n, p in network.named_parameters()
            ]
        )
        for i in (0, 1)
    )
    return low, high
