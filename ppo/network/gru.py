"""A policy with memory: it may act on what it saw before."""

from collections.abc import Callable
from typing import Annotated, cast

import torch
from annotated_types import Ge
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.network.actor_critic import Deviation, Diagonal, Layers, ObsSize, deviation, perceptrons
from ppo.network.distributions import Gaussian
from ppo.network.memory import GRU, Recurrent
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
        self.chunk, self.memory_size = chunk, actor.cell.hidden + critic.cell.hidden

    def remember(
        self, obs: Float[Tensor, "B O"], memory: Float[Tensor, "C M"], first: Bool[Tensor, " B"] | None = None
    ) -> Float[Tensor, "C M"]:
        each = [cast(Recurrent, part).carries(obs, memory, first) for part in (self.actor, self.critic)]
        return torch.cat([h.unflatten(0, (len(memory), -1))[:, -1] for h in each], -1)


@takes(layers=perceptrons, noise=deviation)
def gru(
    obs_size: ObsSize,
    action_size: int,
    generator: torch.Generator,
    *,
    layers: Layers,
    noise: Callable[[], Deviation],
    hidden: Annotated[int, Ge(1)],
    chunk: Annotated[int, Ge(1)],
) -> Remembering:
    """Observations go through a GRU first, the actor's or the critic's own, and then through ``mlp``'s perceptrons.

    hidden: units of each GRU, whose matrices start orthogonal. chunk: steps in a row that are learned from together;
    the gradient goes back no further. The others are those of ``perceptrons`` and ``deviation``.
    """
    start = noise()
    seen = obs_size if isinstance(obs_size, tuple) else (obs_size, obs_size)
    parts = layers(hidden, action_size, generator)
    actor, critic = (
        Recurrent(GRU(inputs, hidden, at, generator), *part)
        for inputs, at, part in zip(seen, (0, hidden), parts, strict=True)
    )
    log_std = torch.full((action_size,), start.log_std)
    return Remembering(actor, critic, log_std, start.bounds, start.distribution, chunk=chunk)
