"""A small perceptron for a few observations, in C: one call where numpy takes a dozen."""

import ctypes
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from envs import native
from ppo.network.columns import Columns
from ppo.network.normaliser import ObsNormaliser

_SOURCE = Path(__file__).with_name("perceptron.c")
_ACTIVATIONS: dict[type[nn.Module], int] = {nn.Tanh: 1, nn.ReLU: 2}  # as the C file has them; 0: none
_KINDS = (Columns, nn.Linear, tuple(_ACTIVATIONS))
Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class _Layer(ctypes.Structure):
    _fields_ = [
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("activation", ctypes.c_int64),
    ]


def native_perceptron(network: nn.Sequential, normalise: ObsNormaliser, rows: int) -> Forward | None:
    """``forward(obs [N, O]) -> (features [N, F], output [N, A])``, N = ``rows``: what goes into the last layer of ``network``,
    linear layers and activations after ``Columns`` or none, and what comes out; with the parameters and statistics of now.
    None where it is made otherwise, or there is no compiler."""
    kinds = [next((i for i, kind in enumerate(_KINDS) if isinstance(layer, kind)), -1) for layer in network]
    if not re.fullmatch("0?(12?)+", "".join(map(str, kinds))):
        return None
    library = native.load(_SOURCE, "-ffp-contract=fast")
    return Native(library, network, normalise, rows) if library else None


class Native:
    """The call, prepared: its arguments are memory that stays."""

    def __init__(self, library: ctypes.CDLL, network: nn.Sequential, normalise: ObsNormaliser, rows: int):
        layers, chosen = self._weights(network)
        size, last = max(normalise.mean.numel(), 1 + max(chosen)), layers[-1][0]
        columns = np.array(chosen, np.int64)
        mean, std = (np.broadcast_to(x.double().numpy(), size).copy() for x in normalise[:2])
        self._obs = np.zeros((rows, size))
        self._features, self._output = (np.zeros((rows, n), np.float32) for n in last.shape)
        widest = max(max(weight.shape) for weight, _, _ in layers)
        work = np.zeros(2 * widest, np.float32)
        described = (_Layer * len(layers))(*(_Layer(w.ctypes.data, b.ctypes.data, *w.shape, a) for w, b, a in layers))
        self._kept = (layers, columns, mean, std, work)  # alive as long as this is
        self._call = partial(
            library.perceptron,
            _at(self._obs),
            ctypes.c_int64(rows),
            ctypes.c_int64(size),
            _at(mean),
            _at(std),
            ctypes.c_double(normalise.clip),
            _at(columns),
            described,
            ctypes.c_int64(len(layers)),
            ctypes.c_int64(widest),
            _at(work),
            _at(self._features),
            _at(self._output),
        )

    @staticmethod
    def _weights(network: nn.Sequential) -> tuple[list[tuple[np.ndarray, np.ndarray, int]], list[int]]:
        """(weight [inputs, outputs], bias, activation) of each layer, and the columns that the first one sees."""
        layers: list[tuple[np.ndarray, np.ndarray, int]] = []
        columns: list[int] = []
        for layer in network:
            if isinstance(layer, Columns):
                columns = list(layer.columns)
            elif isinstance(layer, nn.Linear):
                weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
                layers.append((np.ascontiguousarray(weight.T), bias.copy(), 0))
            else:
                layers[-1] = (*layers[-1][:2], _ACTIVATIONS[type(layer)])
        return layers, columns or list(range(len(layers[0][0])))

    def __call__(self, obs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._obs[:] = obs[
            :, : self._obs.shape[1]
        ]  # columns after the last one that is seen, where nothing is normalised
        self._call()
        return self._features.copy(), self._output.copy()


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
