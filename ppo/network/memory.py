"""Memory: a carry of numbers that a network hands from one step to the next, 0 where an episode begins.

A network with memory is given samples in pieces of L in a row, the carry before the first of each, and where episodes
begin within them: ``obs [C L, O]``, ``memory [C, M]``, ``first [C L]``. L = 1 is a step.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

Memory = Tensor | tuple[()]  # [N, M]; a network without memory has ()


class GRU(nn.Module):
    """Gated recurrent units, Cho et al. 2014, as ``torch.nn.GRUCell`` has them and under its parameters' names:

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h <- (1 - z) n + z h

    The h after a step is both its output and its carry. ``at``: the first column of the memory that is its own.
    """

    def __init__(self, inputs: int, hidden: int, at: int, generator: torch.Generator):
        super().__init__()
        self.hidden, self.at = hidden, at

        def orthogonal(columns: int) -> nn.Parameter:
            gates = torch.empty(3, hidden, columns)
            for gate in gates:
                nn.init.orthogonal_(gate, generator=generator)
            return nn.Parameter(gates.flatten(0, 1))

        self.weight_ih, self.weight_hh = orthogonal(inputs), orthogonal(hidden)  # [3 H, I] and [3 H, H]: r, z, n
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.zeros(3 * hidden)) for _ in range(2))

    @property
    def own(self) -> slice:
        """Its columns of the memory."""
        return slice(self.at, self.at + self.hidden)

    def forward(
        self, x: Float[Tensor, "*B I"], memory: Float[Tensor, "*C M"], first: Bool[Tensor, "*B"] | None = None
    ) -> Float[Tensor, "*B H"]:
        """h after every sample. The last axis of ``*B`` is C pieces of L, one after the other; no ``first``: none begins.

        What the inputs and biases add is one product for all steps; only what depends on h is left for the loop over L.
        """
        parts = (2 * self.hidden, self.hidden)  # r and z, n
        h = memory[..., self.own].reshape(-1, self.hidden)
        pieces, length = h.shape[0], x.shape[-2] // memory.shape[-2]
        b_rz, b_n = self.bias_hh.split(parts)
        bias = self.bias_ih + F.pad(b_rz, (0, self.hidden))
        from_x = F.linear(x, self.weight_ih, bias).reshape(pieces, length, 3 * self.hidden)
        begins = repeat(None) if first is None else first.reshape(pieces, length, 1).unbind(1)
        seen = []
        for begin, rz_x, n_x in zip(begins, *(part.unbind(1) for part in from_x.split(parts, -1)), strict=False):
            if begin is not None:
                h = torch.where(begin, 0.0, h)
            rz_h, n_h = F.linear(h, self.weight_hh).split(parts, -1)
            r, z = torch.sigmoid(rz_x + rz_h).chunk(2, -1)
            n = torch.tanh(torch.addcmul(n_x, r, n_h + b_n))
            h = torch.lerp(n, h, z)
            seen.append(h)
        return torch.stack(seen, 1).reshape(*x.shape[:-1], self.hidden)


class Recurrent(nn.Sequential):
    """Layers in a row, one of which is a ``GRU``."""

    @property
    def cell(self) -> GRU:
        return cast(GRU, self[self._place()])

    @property
    def before(self) -> Sequence[nn.Module]:
        return list(self)[: self._place()]

    @property
    def after(self) -> Sequence[nn.Module]:
        return list(self)[self._place() + 1 :]

    def _place(self) -> int:
        return next(i for i, layer in enumerate(self) if isinstance(layer, GRU))

    def forward(  # ty: ignore[incompatible-method-override]
        self, obs: Float[Tensor, "*B O"], memory: Float[Tensor, "*C M"], first: Bool[Tensor, "*B"] | None = None
    ) -> Tensor:
        x = self.carries(obs, memory, first)
        for layer in self.after:
            x = layer(x)
        return x

    def carries(
        self, obs: Float[Tensor, "*B O"], memory: Float[Tensor, "*C M"], first: Bool[Tensor, "*B"] | None = None
    ) -> Float[Tensor, "*B H"]:
        """The carry after every sample."""
        for layer in self.before:
            obs = layer(obs)
        return self.cell(obs, memory, first)
