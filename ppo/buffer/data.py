"""The data that flows through the rooms: what acted, what happened, what is learned from.

Axes: time is axis 0 of a rollout, samples are the last axis of a batch, every other axis is free.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ppo.network.distributions import Policy
from ppo.network.memory import Memory


class Transition(NamedTuple):
    """One vector step of ``N`` sub-environments; stacked over time, a rollout ``[T, N, ...]``."""

    obs: Tensor  # [N, O] as the environment gave it, not normalised
    action: Tensor  # [N, A] as it was sampled, the environment may have received it clipped or squashed; or [N] of n
    policy: Policy  # the behaviour distribution it was sampled from
    reward: Tensor  # [N] as the environment gave it
    next_obs: Tensor  # [N, O] the true successor, before any reset
    terminated: Tensor  # [N] bool: nothing follows, no bootstrap
    done: Tensor  # [N] bool: terminated or truncated, the trace is cut
    group: Tensor  # [N] int64: group id for norm=group
    memory: Memory = ()  # [N, M] before the action, where the network has one; 0 where an episode begins
    # [N] bool, where the world masks: False where it gave a number that is not finite; 0 stands for that one
    mask: Tensor | tuple[()] = ()


class Pairs(NamedTuple):
    """Demonstrated: what was seen (normalised) and what was done, as the policy has actions."""

    obs: Float[Tensor, "*B O"]
    action: Tensor  # [*B, A] or [*B]


class Batch(NamedTuple):
    """Samples to learn from: ``[B, ...]`` after ``prepare``, ``[K, M, ...]`` once shuffled into K minibatches of M."""

    obs: Float[Tensor, "*B O"]  # normalised
    action: Tensor  # [*B, A] of continuous actions, [*B] int64 of discrete ones
    policy: Policy  # the behaviour policy, fixed for all epochs
    value: Float[Tensor, "*B"]  # the critic's prediction before the update
    target: Float[Tensor, "*B"]  # what the critic should predict
    advantage: Float[Tensor, "*B"]
    group: Int[Tensor, "*B"]
    mask: Bool[Tensor, "*B"]  # False: no gradient from this sample, and it enters no statistic
    noise: Float[Tensor, "*B A"]  # added to the mean of the policy being trained, in the objective alone; A = 0: none
    reference: Policy | tuple[()] = ()  # the frozen policy at the same states, where there is one
    demo: Pairs | tuple[()] = ()  # one demonstrated pair a sample, drawn at random, where there are any
    memory: Float[Tensor, "*B M"] | tuple[()] = ()  # before each sample as it was while acting, where there is one
    first: Bool[Tensor, "*B"] | tuple[()] = ()  # then also: an episode begins here, so that memory is 0


def tree_map(function, *trees):
    """Apply ``function`` to the corresponding tensors of equally shaped trees: NamedTuples, dicts and tensors, nested."""
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in first}
    return type(first)(*(tree_map(function, *parts) for parts in zip(*trees, strict=True)))


def leaves(tree) -> list[Tensor]:
    """The tensors of a tree, in the order in which ``tree_map`` visits them."""
    if isinstance(tree, Tensor):
        return [tree]
    found: list[Tensor] = []
    for part in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(part, Tensor):  # most are: a call for each would cost more than the rest
            found.append(part)
        else:
            found += leaves(part)
    return found


def with_leaves(tree, tensors: Iterable[Tensor]):
    """A tree like ``tree``, of these tensors: the inverse of ``leaves``."""
    given = iter(tensors)
    return tree_map(lambda _: next(given), tree)


def in_pieces(x: Tensor, chunk: int) -> Tensor:
    """[T, N, ...] -> [T / chunk, N chunk, ...]: each row is N pieces of ``chunk`` steps of one sub-environment, one piece
    after the other. The order of the samples in a batch is that of these rows; for a chunk of 1 it is that of time."""
    return x.unflatten(0, (-1, chunk)).transpose(1, 2).flatten(1, 2)


def in_time(x: Tensor, chunk: int) -> Tensor:
    """[T / chunk, N chunk, ...] -> [T, N, ...]: the inverse of ``in_pieces``."""
    return x.unflatten(1, (-1, chunk)).transpose(1, 2).flatten(0, 1)


def chunk_length(x: Tensor, rows: int | None = None, whole: int = 1) -> int:
    """How long along axis 0 the chunks are into which ``in_chunks`` cuts samples of this shape ``[*B]``."""
    rows = rows or (1024 if x.device.type == "cpu" else 2**17)  # there a call costs more than what it leaves in memory
    return math.ceil(len(x) / math.ceil(x.numel() / rows) / whole) * whole


def in_chunks(function, tree, rows=None, whole=1):
    """``function(tree)`` for a whole rollout, the tensors ``[*B, ...]`` of the tree cut along axis 0 into chunks of about
    ``rows`` samples, by default as many as pay, at multiples of ``whole``; the result is in memory of its own.

    For a function of single samples, such as a network: what it makes on the way stays in the cache, and is not the
    largest thing that a run ever holds in memory.
    """
    tensors = leaves(tree)
    length = chunk_length(tensors[0][..., 0], rows, whole)
    parts = (with_leaves(tree, part) for part in zip(*(x.split(length) for x in tensors), strict=True))
    return tree_map(lambda *done: torch.cat(done), *(function(part) for part in parts))
