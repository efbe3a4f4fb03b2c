"""Walking through trees of tensors, and whole rollouts in chunks."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from ppo.buffer.data import in_chunks, leaves, tree_map, with_leaves
from ppo.config.options import option


class Pair(NamedTuple):
    one: Tensor
    other: object


def test_a_tree_is_walked_in_one_order_and_built_again_from_its_leaves():
    """NamedTuples and dicts, nested; an empty part stays empty."""
    x = torch.arange(6.0).unbind()
    tree = Pair(x[0], Pair({"b": x[1], "a": Pair(x[2], ())}, {}))
    assert [leaf.item() for leaf in leaves(tree)] == [0, 1, 2]
    assert with_leaves(tree, x[3:]) == Pair(x[3], Pair({"b": x[4], "a": Pair(x[5], ())}, {}))
    assert [leaf.item() for leaf in leaves(tree_map(torch.add, tree, with_leaves(tree, x[3:])))] == [3, 5, 7]


def test_trees_of_different_shape_are_refused():
    with pytest.raises((ValueError, KeyError)):
        tree_map(torch.add, Pair(torch.zeros(1), {"a": torch.zeros(1)}), Pair(torch.zeros(1), {"b": torch.zeros(1)}))


@pytest.mark.parametrize("shape", [(12, 5, 3), (60, 3), (1, 60, 3), (7, 1, 3)], ids=str)
def test_in_chunks_is_the_function_of_the_whole(shape):
    network = option("network", "mlp", actor=[4], critic=[4])(3, 2, torch.Generator().manual_seed(0))
    network.requires_grad_(False)
    obs, seen = torch.randn(shape, generator=torch.Generator().manual_seed(1)), []

    def value(x):
        seen.append(x[..., 0].numel())
        return network.value(x)

    torch.testing.assert_close(in_chunks(value, obs, rows=10), network.value(obs), rtol=0, atol=1e-6)
    assert sum(seen) == obs[..., 0].numel() and max(seen) <= max(10, obs[0, ..., 0].numel())
    for ours, whole in zip(in_chunks(network.policy, obs, rows=10), network.policy(obs), strict=True):
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [10, 1000])
def test_what_in_chunks_gives_is_no_view_of_the_parameters(rows):
    network = option("network", "mlp", log_std=-1.0)(3, 2, torch.Generator().manual_seed(0)).requires_grad_(False)
    policy = in_chunks(network.policy, torch.zeros(4, 10, 3), rows=rows)
    network.log_std.fill_(1.0)
    assert (policy.log_std == -1.0).all()
