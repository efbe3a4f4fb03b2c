"""The network with memory: the same numbers as a plain loop over PyTorch's cell, however it is called."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from ppo.config.options import option
from ppo.network.acting import actor
from ppo.network.columns import Columns
from ppo.network.flat import Following, Inputs, build_evaluate, flatten
from ppo.network.memory import GRU, LSTM, Recurrent, unroll
from ppo.network.normaliser import ObsNormaliser

CELLS = pytest.mark.parametrize(("kind", "parts"), [("gru", 1), ("lstm", 2)], ids=["gru", "lstm"])


def small(kind: str, *, hidden: int = 6, chunk: int = 5, obs: int | tuple[int, int] = 3, **options):
    build = option("network", kind, actor=[8], critic=[7], hidden=hidden, chunk=chunk, **options)
    return build(obs, 2, torch.Generator().manual_seed(0))


def pieces(count: int, length: int, size: int, *, inputs: int = 3):
    """(x [C L, I], memory [C, M], first [C L]): a third of the samples begin an episode."""
    g = torch.Generator().manual_seed(1)
    x, memory = torch.randn(count * length, inputs, generator=g), torch.randn(count, size, generator=g)
    return x, memory, torch.rand(count * length, generator=g) < 1 / 3


def by_cell(cell: nn.GRUCell | nn.LSTMCell, x, memory, first):
    """As anybody would write it: a piece after the other, a step after the other."""
    length, outputs = len(x) // len(memory), []
    for piece, state in enumerate(memory):
        for step in range(length):
            i = piece * length + step
            if first[i]:
                state = torch.zeros_like(state)
            if isinstance(cell, nn.LSTMCell):
                state = torch.cat(cell(x[i : i + 1], state[None].tensor_split(2, -1)), -1)[0]
            else:
                state = cell(x[i], state)
            outputs.append(state)
    return torch.stack(outputs)


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize(("kind", "theirs"), [(GRU, nn.GRUCell), (LSTM, nn.LSTMCell)], ids=["gru", "lstm"])
def test_values_and_gradients_are_those_of_a_loop_over_pytorchs_cell(kind, theirs, length):
    """Of two cells, which are one loop: each with a state of its own in the memory."""
    cells = [theirs(3, 4) for _ in range(2)]
    size = 4 * kind.parts
    ours = [Recurrent(kind(3, 4, at, torch.Generator())) for at in (2, 2 + size)]
    for mine, cell in zip(ours, cells):
        assert [*mine.cell.state_dict()] == [*cell.state_dict()]
        mine.cell.load_state_dict(cell.state_dict())
    x, memory, first = pieces(6, length, 3 + 2 * size)
    x.requires_grad_(), memory.requires_grad_()
    weight = torch.randn(2, 6 * length, size)
    found = torch.stack(unroll(ours, x, memory, first))
    own = memory[:, 2:-1].tensor_split(2, -1)
    expected = torch.stack([by_cell(cell, x, state, first) for cell, state in zip(cells, own)])
    torch.testing.assert_close(found, expected)
    assert first.any() and not first.all()
    gradients = [
        torch.autograd.grad((weight * out).sum(), [x, memory, *(p for m in modules for p in m.parameters())])
        for out, modules in ((found, ours), (expected, cells))
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_many_copies_of_a_network_are_unrolled_as_one_by_one():
    """A leading axis of seeds, by ``vmap``."""
    network = Recurrent(GRU(3, 4, 0, torch.Generator()))
    x, memory, first = pieces(2, 5, 4)
    params = {name: torch.randn(3, *p.shape) for name, p in network.named_parameters()}

    def loss(p):
        return functional_call(network, p, (x, memory, first)).square().sum()

    together = vmap(grad(loss))(params)
    for seed in range(3):
        alone = grad(loss)({name: p[seed] for name, p in params.items()})
        torch.testing.assert_close({name: p[seed] for name, p in together.items()}, alone)


@CELLS
def test_forward_mode_agrees_with_backward_mode(kind, parts):
    """objective=trpo needs products with the Hessian: here that of a sum of squares, by both."""
    network = small(kind).double()
    params = dict(network.named_parameters())
    x, memory, first = pieces(4, 5, 12 * parts)

    def loss(p):
        policy, value = functional_call(network, p, (x.double(), memory.double(), first))
        return policy.mean.square().sum() + value.square().sum() + policy.log_std.square().sum()

    direction = {name: torch.randn_like(p) for name, p in params.items()}
    product = jvp(grad(loss), (params,), (direction,))[1]
    gradient = torch.autograd.grad(loss(params), [*params.values()], create_graph=True)
    along = sum((g * d).sum() for g, d in zip(gradient, direction.values(), strict=True))
    expected = torch.autograd.grad(along, [*params.values()])
    torch.testing.assert_close([*product.values()], [*expected])


@pytest.mark.parametrize("columns", [None, [1, 2], [0, 2]], ids=str)
@pytest.mark.parametrize("rows", [4, 500])  # few enough for numpy, and too many
@CELLS
@torch.no_grad()
def test_acting_step_by_step_is_the_module_on_the_whole_piece(kind, parts, rows, columns):
    """Action, policy and memory, with episodes that begin on the way; actor and critic may see different columns."""
    network = small(kind, obs=(2 if columns else 3, 3))
    if columns:
        network.actor.insert(0, Columns(columns))
    obs, memory, first = pieces(rows, 5, 12 * parts)
    whole, carry = network.policy(obs, memory, first), network.remember(obs, memory, first)
    normalise = ObsNormaliser(torch.tensor([0.5, 0.0, 1.0]), torch.tensor([2.0, 1.0, 3.0]), clip=100.0)
    raw = (obs * normalise.std + normalise.mean).view(rows, 5, 3).numpy()
    noise, kept = network.noise(5, rows, torch.Generator().manual_seed(2)), memory.numpy().copy()
    act = actor(network, normalise, rows)
    for step in range(5):
        before = kept = np.where(first.view(rows, 5)[:, step, None], np.float32(0), kept)
        action, (mean, log_std), kept = act(raw[:, step], noise[step], before)
        expected = whole.mean.view(rows, 5, 2)[:, step].numpy()
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(action, expected + np.exp(log_std) * noise[step].numpy(), rtol=1e-4, atol=1e-5)
        assert action.dtype == mean.dtype == kept.dtype == np.float32
    np.testing.assert_allclose(kept, carry.numpy(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_actor_and_critic_remember_each_for_itself():
    network = small("gru")
    obs, memory, first = pieces(3, 5, 12)
    mean, value = network.policy(obs, memory, first).mean, network.value(obs, memory, first)
    first = torch.zeros_like(first)
    for columns, moved in ((slice(0, 6), "actor"), (slice(6, 12), "critic")):
        other = memory.clone()
        other[:, columns] += 1
        policy, seen = network(obs, memory, first), network(obs, other, first)
        assert torch.equal(policy[0].mean, seen[0].mean) == (moved == "critic")
        assert torch.equal(policy[1], seen[1]) == (moved == "actor")
    assert mean.shape == (15, 2) and value.shape == (15,)


@torch.no_grad()
def test_what_follows_a_sample_is_seen_with_the_memory_after_it():
    """[T, N, ...] as a rollout has it, the second of two steps."""
    network = small("gru", chunk=2)
    evaluate, params = build_evaluate(network), flatten(network)
    obs, following, memory = torch.randn(4, 3, 3), torch.randn(4, 3, 3), torch.randn(4, 3, 12)
    found = evaluate.value_after(params, Following(following, obs, memory))
    after = network.remember(obs.flatten(0, 1), memory.flatten(0, 1))
    torch.testing.assert_close(found.flatten(), network.value(following.flatten(0, 1), after))


@torch.no_grad()
def test_a_piece_starts_with_the_memory_of_its_first_sample():
    network = small("gru", chunk=5)
    evaluate, params = build_evaluate(network), flatten(network)
    obs, memory, first = pieces(4, 5, 12)
    stored = torch.randn(20, 12)
    stored[::5] = memory
    policy, value = evaluate(params, Inputs(obs, stored, first))
    torch.testing.assert_close(policy.mean, network.policy(obs, memory, first).mean)
    torch.testing.assert_close(value, network.value(obs, memory, first))
