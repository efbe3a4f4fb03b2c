"""The policy as a rollout calls it: one observation of every sub-environment in, sampled actions out, all numpy arrays."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import nn

from ppo.network.actor_critic import ActorCritic
from ppo.network.columns import Columns
from ppo.network.normaliser import ObsNormaliser

Act = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, tuple[np.ndarray, ...]]]
_SMALL = 2048  # rows times widest layer; above it PyTorch's products are as fast
_IN_NUMPY: dict[type[nn.Module], Callable] = {
    nn.Tanh: lambda x: np.tanh(x, out=x),
    nn.ReLU: lambda x: np.maximum(x, 0.0, out=x),
}


@contextmanager
def one_thread() -> Generator[None]:
    """Meanwhile, let PyTorch have one. Its others, once used, spin for more work on the cores that step environments."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def actor(network: ActorCritic, normalise: ObsNormaliser, rows: int) -> Act:
    """``act(obs [N, O], noise) -> (action [N, A], parameters of the policy it was sampled from)``; N = ``rows``.

    All are arrays; ``noise`` is what ``network.noise`` has for this step. With the parameters and statistics of now.
    A small perceptron on the CPU is evaluated in numpy, where a tensor operation would cost several times the
    arithmetic; every other network is simply called. The two agree to rounding.
    """
    return _perceptron(network, normalise, rows) or _module(network, normalise)


def _module(network: ActorCritic, normalise: ObsNormaliser) -> Act:
    device = next(network.parameters()).device

    @torch.inference_mode()
    def act(obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        action, policy = network.sample(normalise(torch.from_numpy(obs).to(device)), torch.from_numpy(noise).to(device))
        return action.cpu().numpy(), tuple(x.detach().cpu().numpy() for x in policy)

    return act


def _perceptron(network: ActorCritic, normalise: ObsNormaliser, rows: int) -> Act | None:
    """None where the actor is anything but linear layers and activations known here, not on the CPU, or large."""
    if not isinstance(network.actor, nn.Sequential) or next(network.parameters()).device.type != "cpu":
        return None
    steps: list[Callable] = []
    for layer in network.actor:
        if type(layer) is nn.Linear and rows * layer.out_features <= _SMALL:
            steps.append(_linear(layer))
        elif type(layer) is Columns:
            steps.append(partial(_take, index=layer.index.numpy()))
        elif type(layer) in _IN_NUMPY:
            steps.append(_IN_NUMPY[type(layer)])
        else:
            return None
    mean, std = normalise.mean.numpy(), normalise.std.numpy()
    low, high = -normalise.clip, normalise.clip
    *hidden, last = steps
    head = network.numpy_head()

    def act(obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        x = (obs - mean) / std
        x = np.minimum(np.maximum(x, low), high).astype(np.float32)
        for step in hidden:
            x = step(x)
        return head(x, last(x), noise)

    return act


def _take(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    return x[:, index]


def _linear(layer: nn.Linear) -> Callable[[np.ndarray], np.ndarray]:
    weight, bias = np.ascontiguousarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy().copy()

    def apply(x: np.ndarray) -> np.ndarray:
        x = x @ weight
        x += bias
        return x

    return apply
