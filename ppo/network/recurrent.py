"""Policies with memory: they may act on what they saw before."""

from collections.abc import Callable
from typing import Annotated, NamedTuple, cast

import torch
from annotated_types import Ge
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.network.actor_critic import Deviation, Diagonal, Layers, ObsSize, deviation, perceptrons
from ppo.network.distributions import Gaussian, Policy
from ppo.network.memory import GRU, LSTM, Cell, Recurrent, unroll
from ppo.network.shared import takes


class Remembering(Diagonal):
    """A ``Diagonal`` whose actor and critic are ``Recurrent``; its memory is the actor's carry beside the critic's."""

    def __init__(
        self,
        actor: Recurrent,
        critic: Recurrent,
        log_std: Float[Tensor, " A"],
        log_std_range: tuple[float, float],
        distribution: type[Gaussian],
        *,
        chunk: int,
    ):
        super().__init__(actor, critic, log_std, log_std_range, distribution)
        self.chunk, self.memory_size = chunk, actor.cell.size + critic.cell.size

    def remember(
        self, obs: Float[Tensor, "B O"], memory: Float[Tensor, "C M"], first: Bool[Tensor, " B"] | None = None
    ) -> Float[Tensor, "C M"]:
        return torch.cat([x.unflatten(0, (len(memory), -1))[:, -1] for x in unroll(self.both, obs, memory, first)], -1)

    def forward(
        self, obs: Float[Tensor, "*B O"], *memory: Tensor, actor: bool = True, critic: bool = True
    ) -> tuple[Policy | None, Tensor | None]:
        if not (actor and critic):
            return super().forward(obs, *memory, actor=actor, critic=critic)
        of_actor, of_critic = unroll(self.both, obs, *memory)  # one loop instead of two
        return self.around(self.both[0].finish(of_actor)), self.both[1].finish(of_critic).squeeze(-1)

    @property
    def both(self) -> tuple[Recurrent, Recurrent]:
        return cast(Recurrent, self.actor), cast(Recurrent, self.critic)


class Cells(NamedTuple):
    """What ``gru`` and ``lstm`` are made of."""

    hidden: int
    chunk: int


def cells(*, hidden: Annotated[int, Ge(1)], chunk: Annotated[int, Ge(1)]) -> Cells:
    """hidden: units of each cell, whose matrices start orthogonal. chunk: steps in a row that are learned from together;
    the gradient goes back no further."""
    return Cells(hidden, chunk)


@takes(layers=perceptrons, noise=deviation, size=cells)
def gru(
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    *,
    layers: Layers,
    noise: Callable[[], Deviation],
    size: Callable[[], Cells],
) -> Remembering:
    """Observations go through a GRU first, the actor's or the critic's own, and then through ``mlp``'s perceptrons.

    The options are those of ``cells``, ``perceptrons`` and ``deviation``.
    """
    return _behind(GRU, obs_size, action_size, generator, layers, noise(), size())


@takes(layers=perceptrons, noise=deviation, size=cells)
def lstm(
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    *,
    layers: Layers,
    noise: Callable[[], Deviation],
    size: Callable[[], Cells],
) -> Remembering:
    """``gru`` with an LSTM in place of each GRU."""
    return _behind(LSTM, obs_size, action_size, generator, layers, noise(), size())


def _behind(
    kind: type[Cell],
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    layers: Layers,
    start: Deviation,
    size: Cells,
) -> Remembering:
    """``mlp``'s perceptrons behind a cell each."""
    seen = obs_size if isinstance(obs_size, tuple) else (obs_size, obs_size)
    parts = layers(size.hidden, action_size, generator)
    actor, critic = (
        Recurrent(kind(inputs, size.hidden, at, generator), *part)
        for inputs, at, part in zip(seen, (0, kind.parts * size.hidden), parts, strict=True)
    )
    log_std = torch.full((action_size,), start.log_std)
    return Remembering(actor, critic, log_std, start.bounds, start.distribution, chunk=size.chunk)
