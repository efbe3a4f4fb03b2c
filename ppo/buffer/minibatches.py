"""From a rollout ``[T, N, ...]`` to samples to learn from, and from those to minibatches ``[K, M, ...]``."""

from collections.abc import Iterator
from itertools import repeat, starmap

import torch
from gymnasium.spaces import Box
from jaxtyping import Int
from torch import Tensor

from ppo.buffer.data import Batch, Transition, leaves, tree_map
from ppo.network.actor_critic import ActorCritic


def allocate(
    num_steps: int,
    num_envs: int,
    observations: Box,
    network: ActorCritic,
    world: torch.device | None = None,
    masks: bool = False,
) -> Transition:
    """An empty rollout ``[T, N, ...]`` of such observations and this network's policy, filled anew in every iteration; on
    the device that the ``world`` lives on, if it does; with a mask where it ``masks``."""

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros((num_steps, num_envs, *shape), dtype=dtype, device=world)

    def empty_like(example: Tensor) -> Tensor:
        return empty(*example.shape[1:], dtype=example.dtype)

    seen = torch.zeros(1, *observations.shape, device=network.device)
    with torch.no_grad():
        policy = network.policy(seen, *leaves(network.empty_memory(1, network.device)))
    obs = torch.from_numpy(observations.low)[None]  # [1, O] of their dtype
    return Transition(
        obs=empty_like(obs),
        action=empty_like(policy.mode()),
        policy=tree_map(empty_like, policy),
        reward=empty(dtype=torch.float64 if world is None else torch.float32),
        next_obs=empty_like(obs),
        terminated=empty(dtype=torch.bool),
        done=empty(dtype=torch.bool),
        group=empty(dtype=torch.int64),
        memory=empty(network.memory_size) if network.memory_size else (),
        mask=empty(dtype=torch.bool) if masks else (),
    )


def random_order(samples: int, chunk: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """A random permutation of the samples' numbers, in which pieces of ``chunk`` stay whole."""
    pieces = torch.randperm(samples // chunk, generator=generator)
    return (chunk * pieces[:, None] + torch.arange(chunk)).flatten()


def blank(batch: Batch) -> Batch:
    """Zeros wherever the mask is False: a weight of 0 does not silence a NaN.

    Not in what a network with memory is led by, all of it finite: the samples after it in its piece are learned from, and
    were acted on with what it left behind.
    On the CPU a batch without such samples, nearly every one, stays as it is; elsewhere looking would mean waiting.
    """
    if batch.mask.device.type == "cpu" and batch.mask.all():
        return batch

    def zeroed(x: Tensor) -> Tensor:
        mask = batch.mask.view(batch.mask.shape + (1,) * (x.ndim - batch.mask.ndim))
        return torch.where(mask, x, torch.zeros_like(x))

    left = ("obs", "memory", "first") if isinstance(batch.memory, Tensor) else ()
    return tree_map(zeroed, batch)._replace(**{name: getattr(batch, name) for name in left})


def shuffle(batch: Batch, minibatch_size: int, order: Int[Tensor, " B"]) -> Batch:
    """[B, ...] -> [B / M, M, ...] in this order, a permutation."""
    order, shape = order.to(batch.value.device), (len(order) // minibatch_size, minibatch_size)
    # index_select: a third of the time of x[order]
    return tree_map(lambda x: x.index_select(0, order).view(*shape, *x.shape[1:]), batch)


def unstack(batch: Batch) -> list[Batch]:
    """[K, M, ...] -> the K minibatches."""
    return list(_rows(batch, len(batch.value)))


def _rows(tree, count: int) -> Iterator:
    """The ``count`` trees that the first axes of its tensors hold; a tree without tensors is in each of them."""
    if isinstance(tree, Tensor):
        return iter(tree.unbind())
    if not tree:
        return repeat(tree, count)
    return starmap(type(tree), zip(*(_rows(x, count) for x in tree), strict=True))
