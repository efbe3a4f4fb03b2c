"""The policy as a rollout calls it: one observation of every sub-environment in, sampled actions out, as the world has
them: numpy arrays, or tensors of the device that it lives on."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppo.network.actor_critic import ActorCritic
from ppo.network.columns import Columns
from ppo.network.memory import GRU, LSTM, Cell, Recurrent
from ppo.network.normaliser import ObsNormaliser
from ppo.network.perceptron import native_perceptron

Act = Callable[[Any, Tensor, Any], tuple[Any, tuple, Any]]
_SMALL = 2048  # rows times widest layer; above it PyTorch's products are as fast


@contextmanager
def one_thread() -> Generator[None]:
    """Meanwhile, let PyTorch have one. Its others, once used, spin for more work on the cores that step environments."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def actor(network: ActorCritic, normalise: ObsNormaliser, rows: int, world: torch.device | None = None) -> Act:
    """``act(obs [N, O], noise, memory) -> (action [N, A], parameters of the policy it was sampled from, memory)``; N =
    ``rows``.

    All are arrays or, where the ``world`` lives on a device (the network's), tensors; ``noise`` is what ``network.noise``
    has for this step, ``memory`` [N, M] is what ``network`` carries to the next, () where that is nothing. With the
    parameters and statistics of now.
    A small perceptron on the CPU is evaluated in C, or without a compiler in numpy: a tensor operation would cost several
    times the arithmetic. Every other network is simply called. They agree to rounding.
    """
    small = _perceptron(network, normalise, rows)
    if world is None:
        return small or _in_arrays(_module(network, normalise), network.device)
    return _in_tensors(small) if small else _module(network, normalise)


def _module(network: ActorCritic, normalise: ObsNormaliser) -> Act:
    @torch.no_grad()
    def act(obs: Tensor, noise: Tensor, memory: Any) -> tuple[Tensor, tuple[Tensor, ...], Any]:
        seen = normalise(obs)
        before = (memory,) if network.memory_size else ()
        action, policy = network.sample(seen, noise, *before)
        return action, tuple(x.detach() for x in policy), network.remember(seen, memory) if before else ()

    return act


def _in_arrays(act: Act, device: torch.device) -> Act:
    """``act``, which takes tensors of ``device``, for a world of the host."""

    def acting(obs: np.ndarray, noise: Tensor, memory: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...], Any]:
        carried = () if len(memory) == 0 else torch.from_numpy(memory).to(device)
        action, policy, carried = act(torch.from_numpy(obs).to(device), noise, carried)
        after = () if len(carried) == 0 else carried.cpu().numpy()
        return action.cpu().numpy(), tuple(x.cpu().numpy() for x in policy), after

    return acting


def _in_tensors(act: Act) -> Act:
    """``act``, which takes arrays, for a world on the CPU: the same memory, seen from the other side."""

    def acting(obs: Tensor, noise: Tensor, memory: Any) -> tuple[Tensor, tuple[Tensor, ...], Any]:
        carried = () if len(memory) == 0 else memory.numpy()
        action, policy, carried = act(obs.numpy(), noise, carried)
        after = () if len(carried) == 0 else torch.from_numpy(carried)
        parameters = (torch.from_numpy(x) for x in policy)  # a deviation that no row differs in is one row
        return torch.from_numpy(action), tuple(x if x.ndim > 1 else x.expand(len(obs), -1) for x in parameters), after

    return acting


def _perceptron(network: ActorCritic, normalise: ObsNormaliser, rows: int) -> Act | None:
    """None where the actor is anything but linear layers and activations known here, not on the CPU, or large."""
    if not isinstance(network.actor, nn.Sequential) or network.device.type != "cpu":
        return None
    recurrent = [part for part in (network.actor, network.critic) if isinstance(part, Recurrent)]
    layers = list(network.actor.after if isinstance(network.actor, Recurrent) else network.actor)
    widths = [part.cell.hidden for part in recurrent]
    widths += [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
    if rows * max(widths, default=0) > _SMALL or any(type(layer) not in _IN_NUMPY for layer in layers):
        return None
    head = network.numpy_head()
    if not recurrent and (forward := native_perceptron(network.actor, normalise, rows)):
        return lambda obs, noise, memory: (*head(*forward(obs), noise.numpy()), memory)
    mean, std = normalise.mean.numpy(), normalise.std.numpy()
    low, high = -normalise.clip, normalise.clip
    *hidden, last = [_IN_NUMPY[type(layer)](layer) for layer in layers]
    carry = _carry(recurrent) if recurrent else None

    def act(obs: np.ndarray, noise: Tensor, memory: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...], Any]:
        x = (obs - mean) / std
        x = np.minimum(np.maximum(x, low), high).astype(np.float32)
        if carry:
            after = carry(x, memory)
            x, memory = after[0][:, : recurrent[0].cell.hidden], np.concatenate(after, 1)
        for step in hidden:
            x = step(x)
        return *head(x, last(x), noise.numpy()), memory

    return act


def _columns_of(layer: Columns) -> Callable[[np.ndarray], np.ndarray]:
    index = layer.index.numpy()
    return lambda x: x[:, index]


def _linear(layer: nn.Linear) -> Callable[[np.ndarray], np.ndarray]:
    weight, bias = np.ascontiguousarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy().copy()

    def apply(x: np.ndarray) -> np.ndarray:
        x = x @ weight
        x += bias
        return x

    return apply


# by the kind of a layer, what makes its function of it
_IN_NUMPY: dict[type[nn.Module], Callable] = {
    Columns: _columns_of,
    nn.Linear: _linear,
    nn.Tanh: lambda layer: lambda x: np.tanh(x, out=x),
    nn.ReLU: lambda layer: lambda x: np.maximum(x, 0.0, out=x),
}


def _carry(networks: Sequence[Recurrent]) -> Callable[[np.ndarray, np.ndarray], list[np.ndarray]]:
    """``carry(x [N, I], memory [N, M]) -> [state [N, S] of each]`` after one step: of all ``networks`` at once, whose
    cells are of one kind and size. Columns that one does not see have weight 0."""
    cells = [network.cell for network in networks]
    step, scale = _STEPS[type(cells[0])]
    half = np.repeat(np.array(scale, np.float32), cells[0].hidden)
    hidden, own = cells[0].hidden, [cell.own for cell in cells]
    seen = [_columns(network) for network in networks]
    last = 1 + max(map(max, seen))
    w_x = np.zeros((len(cells), last, len(half)), np.float32)
    for w, cell, columns in zip(w_x, cells, seen, strict=True):
        w[columns] = (cell.weight_ih.detach().numpy() * half[:, None]).T
    w_h = np.stack([(cell.weight_hh.detach().numpy() * half[:, None]).T for cell in cells])
    b_x, b_h = (
        np.stack([getattr(c, b).detach().numpy() * half for c in cells])[:, None] for b in ("bias_ih", "bias_hh")
    )

    def carry(x: np.ndarray, memory: np.ndarray) -> list[np.ndarray]:
        state = np.stack([memory[:, columns] for columns in own])
        from_x, from_h = x[:, :last] @ w_x, state[..., :hidden] @ w_h
        from_x += b_x
        from_h += b_h
        return list(step(from_x, from_h, state))

    return carry


def _columns(network: Recurrent) -> list[int]:
    """Those of the observation that it sees."""
    chosen = [layer.columns for layer in network.before if isinstance(layer, Columns)]
    return list(chosen[0] if chosen else range(network.cell.weight_ih.shape[1]))


def _gru(x: np.ndarray, h: np.ndarray, state: np.ndarray) -> np.ndarray:
    """``GRU.step``, of which r and z come halved: sigmoid(y) = tanh(y / 2) / 2 + 1 / 2."""
    size = state.shape[-1]
    gates = np.tanh(x[..., : 2 * size] + h[..., : 2 * size])
    gates *= 0.5
    gates += 0.5
    new = np.tanh(x[..., 2 * size :] + gates[..., :size] * h[..., 2 * size :])
    return new + gates[..., size:] * (state - new)


def _lstm(x: np.ndarray, h: np.ndarray, state: np.ndarray) -> np.ndarray:
    """``LSTM.step``, of which i, f and o come halved."""
    i, f, g, o = np.split(np.tanh(x + h), 4, -1)
    c = 0.5 * ((f + 1) * np.split(state, 2, -1)[1] + (i + 1) * g)
    return np.concatenate([0.5 * (o + 1) * np.tanh(c), c], -1)


# by how much the part of each gate is multiplied, in the weights instead of in every step
_STEPS: dict[type[Cell], tuple[Callable, tuple[float, ...]]] = {
    GRU: (_gru, (0.5, 0.5, 1.0)),
    LSTM: (_lstm, (0.5, 0.5, 1.0, 0.5)),
}
