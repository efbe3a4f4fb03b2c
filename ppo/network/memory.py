"""Memory: a carry of numbers that a network hands from one step to the next, 0 where an episode begins.

A network with memory is given samples in pieces of L in a row, the carry before the first of each, and where episodes
begin within them: ``obs [C L, O]``, ``memory [C, M]``, ``first [C L]``. L = 1 is a step.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

Memory = Tensor | tuple[()]  # [N, M]; a network without memory has ()
Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # (from x, from h, state) -> state; see ``Cell.step``


class Cell(nn.Module):
    """A recurrent layer, under the names of the parameters of PyTorch's cell of the same kind.

    ``hidden``: H, the numbers in its output h. Its state [S] begins with h and is its carry, the columns of the memory
    from ``at`` on.
    """

    gates: int  # rows of H in each weight
    parts: int  # S / H

    def __init__(self, inputs: int, hidden: int, at: int, generator: torch.Generator):
        super().__init__()
        self.hidden, self.size = hidden, self.parts * hidden
        self.own = slice(at, at + self.size)

        def orthogonal(columns: int) -> nn.Parameter:
            gates = torch.empty(self.gates, hidden, columns)
            for gate in gates:
                nn.init.orthogonal_(gate, generator=generator)
            return nn.Parameter(gates.flatten(0, 1))

        self.weight_ih, self.weight_hh = orthogonal(inputs), orthogonal(hidden)  # [G, I] and [G, H], G = gates H
        self.bias_ih, self.bias_hh = (nn.Parameter(torch.zeros(self.gates * hidden)) for _ in range(2))

    @staticmethod
    def step(x: Float[Tensor, "*B G"], h: Float[Tensor, "*B G"], state: Float[Tensor, "*B S"]) -> Float[Tensor, "*B S"]:
        """The next state; ``x`` and ``h``: the input and the h before, each times its weight, plus its bias."""
        raise NotImplementedError


class GRU(Cell):
    """Gated recurrent units, Cho et al. 2014, as ``torch.nn.GRUCell`` has them:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))
    h <- (1 - z) n + z h
    """

    gates, parts = 3, 1

    @staticmethod
    def step(x: Float[Tensor, "*B G"], h: Float[Tensor, "*B G"], state: Float[Tensor, "*B S"]) -> Float[Tensor, "*B S"]:
        (r_x, z_x, n_x), (r_h, z_h, n_h) = x.chunk(3, -1), h.chunk(3, -1)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        return torch.lerp(torch.tanh(n_x + r * n_h), state, z)


class LSTM(Cell):
    """Long short-term memory, Hochreiter & Schmidhuber 1997, Gers et al. 2000, as ``torch.nn.LSTMCell`` has it:

        i, f, o = sigmoid(W_i. x + b_i. + W_h. h + b_h.),  one each;  g = tanh(likewise)
        c <- f c + i g
        h <- o tanh(c)

    Its state is (h, c). It starts with b_if = 1, so that what is in c stays there at first (Jozefowicz et al. 2015).
    """

    gates, parts = 4, 2

    def __init__(self, inputs: int, hidden: int, at: int, generator: torch.Generator):
        super().__init__(inputs, hidden, at, generator)
        with torch.no_grad():
            self.bias_ih[hidden : 2 * hidden] = 1.0

    @staticmethod
    def step(x: Float[Tensor, "*B G"], h: Float[Tensor, "*B G"], state: Float[Tensor, "*B S"]) -> Float[Tensor, "*B S"]:
        i, f, g, o = (x + h).chunk(4, -1)
        _, c = state.chunk(2, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], -1)


def plain(
    step: Step,
    x: Float[Tensor, "P L C G"],
    weight: Float[Tensor, "P G H"],
    bias: Float[Tensor, "P G"],
    state: Float[Tensor, "P C S"],
    first: Bool[Tensor, "L C"] | None,
) -> tuple[Float[Tensor, "P L C S"], Float[Tensor, "P L C G"]]:
    """The states of P cells of one kind after each of L steps, 0 before those that are ``first``; and what h gave to each."""
    states, products = [], []
    begins = repeat(None) if first is None else first.unsqueeze(-1)
    for x_now, begin in zip(x.unbind(1), begins, strict=False):
        if begin is not None:
            state = torch.where(begin, 0.0, state)
        product = state[..., : weight.shape[-1]] @ weight.mT + bias[:, None]
        state = step(x_now, product, state)
        states.append(state), products.append(product)
    return torch.stack(states, 1), torch.stack(products, 1)


class _Unrolled(torch.autograd.Function):
    """``plain``, whose gradient with respect to the weight is one product for all steps instead of one for each."""

    generate_vmap_rule = True

    @staticmethod
    def forward(step, x, weight, bias, state, first):
        return plain(step, x, weight, bias, state, first)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.step, *given, ctx.first = inputs
        ctx.save_for_backward(*given, *output)
        ctx.save_for_forward(*given)

    @staticmethod
    def jvp(ctx, _, *tangents):  # ty: ignore[incompatible-method-override]
        def run(*given):
            return plain(ctx.step, *given, ctx.first)

        return torch.func.jvp(run, ctx.saved_tensors, tangents[:-1])[1]

    @staticmethod
    def backward(ctx, of_states, of_products):  # ty: ignore[incompatible-method-override]
        x, weight, _, state, states, products = ctx.saved_tensors
        before = torch.cat([state[:, None], states[:, :-1]], 1)
        if ctx.first is not None:
            before = torch.where(ctx.first[..., None], 0.0, before)
        flow = torch.zeros_like(state)  # the gradient that comes back from the steps after
        of_x, of_h = [], []
        for t in reversed(range(x.shape[1])):
            pull = torch.func.vjp(ctx.step, x[:, t], products[:, t], before[:, t])[1]
            dx, dh, flow = pull(of_states[:, t] + flow)
            dh = dh + of_products[:, t]
            through = dh @ weight
            flow = flow + F.pad(through, (0, flow.shape[-1] - through.shape[-1]))
            if ctx.first is not None:
                flow = torch.where(ctx.first[t, :, None], 0.0, flow)
            of_x.append(dx), of_h.append(dh)
        of_h = torch.stack(of_h[::-1], 1).flatten(1, 2)
        of_weight = of_h.mT @ before[..., : weight.shape[-1]].flatten(1, 2)
        return None, torch.stack(of_x[::-1], 1), of_weight, of_h.sum(1), flow, None


class Recurrent(nn.Sequential):
    """Layers in a row, one of which is a ``Cell``."""

    @property
    def cell(self) -> Cell:
        return cast(Cell, self[self._place()])

    @property
    def before(self) -> Sequence[nn.Module]:
        return list(self)[: self._place()]

    @property
    def after(self) -> Sequence[nn.Module]:
        return list(self)[self._place() + 1 :]

    def _place(self) -> int:
        return next(i for i, layer in enumerate(self) if isinstance(layer, Cell))

    def forward(  # ty: ignore[incompatible-method-override]
        self, obs: Float[Tensor, "*B O"], memory: Float[Tensor, "*C M"], first: Bool[Tensor, "*B"] | None = None
    ) -> Tensor:
        return self.finish(*unroll([self], obs, memory, first))

    def finish(self, state: Float[Tensor, "*B S"]) -> Tensor:
        """What the layers after the cell make of its states."""
        x = state[..., : self.cell.hidden]
        for layer in self.after:
            x = layer(x)
        return x


def unroll(
    networks: Sequence[Recurrent],
    obs: Float[Tensor, "*B O"],
    memory: Float[Tensor, "*C M"],
    first: Bool[Tensor, "*B"] | None = None,
) -> list[Float[Tensor, "*B S"]]:
    """The state of each network's cell after every sample; the cells are of one kind and size, their loop is one.

    The last axis of ``*B`` is C pieces of L, one after the other; no ``first``: none begins. What the inputs add is one
    product for all steps; only what depends on h is left for the loop over L.
    """
    cells = [network.cell for network in networks]
    length = obs.shape[-2] // memory.shape[-2]
    from_x = []
    for network, cell in zip(networks, cells, strict=True):
        x = obs
        for layer in network.before:
            x = layer(x)
        from_x.append(F.linear(x, cell.weight_ih, cell.bias_ih).reshape(-1, length, cell.gates * cell.hidden))
    states, _ = _Unrolled.apply(
        cells[0].step,
        torch.stack(from_x).transpose(1, 2),
        *(torch.stack([getattr(cell, name) for cell in cells]) for name in ("weight_hh", "bias_hh")),
        torch.stack([memory[..., cell.own].reshape(-1, cell.size) for cell in cells]),
        None if first is None else first.reshape(-1, length).T,
    )
    return [state.transpose(0, 1).reshape(*obs.shape[:-1], -1) for state in states.unbind()]
