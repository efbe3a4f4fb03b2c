"""A small perceptron in C is the module, to rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from envs import native
from ppo.network.columns import Columns
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.network.perceptron import native_perceptron

G = torch.Generator().manual_seed(0)
STATISTICS = ObsNormaliser.of(Moments.empty(5).update(3 + 2 * torch.randn(50, 5, generator=G)), clip=1.5)
NETWORKS = {
    "two layers": lambda: nn.Sequential(nn.Linear(5, 70), nn.Tanh(), nn.Linear(70, 33), nn.ReLU(), nn.Linear(33, 3)),
    "one layer": lambda: nn.Sequential(nn.Linear(5, 3)),
    "its columns": lambda: nn.Sequential(Columns([1, 3]), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)),
    "its end": lambda: nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3), nn.Tanh()),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalise", [STATISTICS, ObsNormaliser.identity()], ids=["normalised", "as it is"])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_module(name, normalise, dtype):
    torch.manual_seed(1)
    network = NETWORKS[name]()
    forward = native_perceptron(network, normalise, 4)
    assert forward is not None, "these tests need a C compiler"
    kept = []
    for scale in (1.0, 100.0):  # also where tanh and the clip end
        obs = (scale * np.random.default_rng(0).normal(3, 2, (4, 5))).astype(dtype)
        features, output = forward(obs)
        with torch.no_grad():
            seen = normalise(torch.from_numpy(obs))
            before = [layer for layer in network if not isinstance(layer, nn.Tanh) or layer is not network[-1]][:-1]
            expected = nn.Sequential(*before)(seen) if before else seen
            np.testing.assert_allclose(output, network(seen).numpy(), rtol=1e-5, atol=3e-6)
            np.testing.assert_allclose(features, expected.numpy(), rtol=1e-5, atol=3e-6 * scale)
        kept.append((output, output.copy()))
    assert all(np.array_equal(one, two) for one, two in kept), "the next call wrote into what the last one gave"


def test_tanh_is_right_to_two_ten_millionths_everywhere():
    network = nn.Sequential(nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.fill_(1.0), layer.bias.fill_(0.0)
    x = np.linspace(-40, 40, 200_001, dtype=np.float32)[:, None]
    forward = native_perceptron(network, ObsNormaliser.identity(), len(x))
    assert forward is not None
    np.testing.assert_allclose(forward(x)[1], np.tanh(x.astype(np.float64)), rtol=0, atol=2e-7)


def test_a_parameter_that_is_not_finite_is_not_hidden():
    network = NETWORKS["two layers"]()
    with torch.no_grad():
        network[0].bias[7] = torch.nan
    forward = native_perceptron(network, STATISTICS, 2)
    assert forward is not None and np.isnan(forward(np.zeros((2, 5)))[1]).all()


@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Tanh(), nn.Linear(5, 3)), nn.Sequential(nn.Linear(5, 3), nn.ELU())], ids=str
)
def test_what_is_made_otherwise_is_left_to_others(network):
    assert native_perceptron(network, STATISTICS, 2) is None


def test_without_a_compiler_there_is_none(monkeypatch):
    monkeypatch.setattr(native, "load", lambda *_: None)
    assert native_perceptron(NETWORKS["one layer"](), STATISTICS, 2) is None
