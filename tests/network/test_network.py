"""The network and its flat buffer."""

import inspect
import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from ppo.config.options import option
from ppo.loss.value import mse
from ppo.network.actor_critic import ActorCritic, mlp, widen
from ppo.network.flat import Inputs, box, build_evaluate, flatten, unflatten


def small(**options) -> ActorCritic:
    build = option("network", "mlp", **{"actor": [8, 8], "critic": [8]} | options)
    return build(3, 2, torch.Generator().manual_seed(0))


def test_parameters_are_views_of_one_buffer():
    network = small()
    before = {n: p.clone() for n, p in network.named_parameters()}
    flat = flatten(network)
    assert flat.numel() == sum(p.numel() for p in before.values()) == (24 + 8 + 64 + 8 + 16 + 2) + (24 + 8 + 8 + 1) + 2
    for name, value in unflatten(network)(flat).items():
        assert torch.equal(value, before[name])
    flat.fill_(0.5)
    assert all((p == 0.5).all() for p in network.parameters())


def test_only_the_deviation_lives_in_a_box():
    network = small(log_std_min=-3.0, log_std_max=1.0)
    low, high = (unflatten(network)(bound) for bound in box(network))
    for name in low:
        expected = (-3.0, 1.0) if name == "log_std" else (-math.inf, math.inf)
        assert (low[name] == expected[0]).all() and (high[name] == expected[1]).all()


def test_a_deviation_that_is_the_parameter_itself():
    """The same policy at the start, the same box, and the gradient of the chain rule: d/d sigma = (d/d log sigma) / sigma."""
    log, scalar = (small(std_type=kind, log_std=-0.5, log_std_min=-3.0, log_std_max=1.0) for kind in ("log", "scalar"))
    obs, action = torch.randn(4, 3), torch.randn(4, 2)
    for a, b in zip(log.policy(obs), scalar.policy(obs), strict=True):
        torch.testing.assert_close(a, b)
    for network in (log, scalar):
        network.policy(obs).log_prob(action).sum().backward()
    torch.testing.assert_close(scalar.std.grad, log.log_std.grad / math.exp(-0.5))
    low, high = (unflatten(scalar)(bound)["std"] for bound in box(scalar))
    torch.testing.assert_close(low.log(), torch.full((2,), -3.0))
    torch.testing.assert_close(high.log(), torch.full((2,), 1.0))


def test_policy_and_value_shapes_for_any_leading_axes():
    policy, value = small(log_std=-0.5)(torch.randn(5, 4, 3))
    assert policy.mean.shape == policy.log_std.shape == (5, 4, 2) and value.shape == (5, 4)
    assert (policy.log_std == -0.5).all()


def test_several_values_are_refused_by_a_loss_of_one():
    """A critic of two outputs keeps its last axis, which would broadcast against the targets."""
    network = small()
    network.critic = nn.Linear(3, 2)
    _, prediction = network(torch.zeros(4, 3))
    with pytest.raises(TypeCheckError):
        mse(prediction, torch.zeros(4), torch.zeros(4))


def test_the_same_generator_gives_the_same_network_and_torchs_own_is_left_alone():
    before = torch.get_rng_state()
    one, two = flatten(small()), flatten(small())
    assert torch.equal(one, two) and torch.equal(before, torch.get_rng_state())


def test_orthogonal_initialisation():
    """Hidden weights are sqrt(2) times an orthogonal matrix, the policy's output is 0.01 of one, biases are 0."""
    network = small(orthogonal=True)
    hidden, last = network.actor[2].weight, network.actor[4].weight
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(2), atol=1e-8, rtol=0)
    torch.testing.assert_close(network.critic[2].weight.norm().item(), 1.0)
    assert all((module.bias == 0).all() for module in network.modules() if isinstance(module, nn.Linear))


@pytest.mark.parametrize(
    ("options", "word"),
    [({"activation": "tan"}, "tanh"), ({"actor": [8, 0]}, "at least 1"), ({"log_std": 3.0}, "log_std_max")],
)
def test_what_cannot_be_built_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        small(**options)


def test_what_the_networks_share_is_in_the_signature_of_each_and_missed_or_misspelt_as_ever():
    given = option("network", "mlp").keywords
    assert list(given) == list(inspect.signature(mlp).parameters)[3:]
    lacking = {key: value for key, value in given.items() if key != "critic"}
    for wrong in (lacking, given | {"critics": [8]}, lacking | {"layers": None}):
        with pytest.raises(TypeError):
            mlp(3, 2, torch.Generator(), **wrong)


def test_a_wider_critic_starts_as_the_one_it_was_and_its_value_is_the_mean_of_its_outputs():
    network, obs = small(), torch.randn(7, 3)
    before = network.value(obs)
    widen(network, 5)
    _, quantiles = network(obs)
    assert quantiles.shape == (7, 5)
    torch.testing.assert_close(quantiles, before[:, None].expand(7, 5))
    with torch.no_grad():
        network.critic[-1].bias += torch.arange(5.0)
    torch.testing.assert_close(network.value(obs), before + 2)


# The network at parameters of one's own


@pytest.mark.parametrize("quantiles", [1, 5])
def test_the_actor_and_the_critic_alone_are_parts_of_the_whole(quantiles):
    network = small(log_std=-0.5)
    widen(network, quantiles)
    flat = flatten(network)
    params, batch, kept = flat + 0.1, Inputs(torch.randn(4, 7, 3)), flat.clone()
    evaluate = build_evaluate(network)
    policy, prediction = evaluate(params, batch)
    assert all(torch.equal(x, y) for x, y in zip(evaluate.policy(params, batch), policy, strict=True))
    assert torch.equal(evaluate.value(params, batch), evaluate.expected(prediction))
    assert evaluate.value(params, batch).shape == (4, 7) == prediction.shape[:2]
    assert torch.equal(flat, kept) and not torch.equal(evaluate.value(flat, batch), evaluate.value(params, batch))
    flat.copy_(params)
    assert torch.equal(network.policy(batch.obs).mean, policy.mean)
    assert torch.equal(network.value(batch.obs), evaluate.value(params, batch))


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_neither_part_of_a_network_looks_at_the_other(part):
    network = small()
    flat, evaluate = flatten(network), build_evaluate(network)
    for p in getattr(network, part).parameters():
        p.fill_(math.nan)
    batch = Inputs(torch.randn(7, 3))
    assert torch.isfinite(evaluate.policy(flat, batch).mean).all() == (part == "critic")
    assert torch.isfinite(evaluate.value(flat, batch)).all() == (part == "actor")
