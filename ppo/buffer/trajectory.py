"""From a rollout ``[T, N, ...]`` to samples to learn from, and from those to minibatches ``[K, M, ...]``."""

import torch
from torch import Tensor

from ppo.types import Batch, Transition, tree_map


def allocate(example: Transition, num_steps: int) -> Transition:
    """An empty rollout for ``num_steps`` transitions like ``example``."""
    return tree_map(lambda x: x.new_empty((num_steps, *x.shape)), example)


def flatten_time(batch: Batch) -> Batch:
    """[T, N, ...] -> [T * N, ...]."""
    return tree_map(lambda x: x.flatten(0, 1), batch)


def shuffle(batch: Batch, minibatch_size: int, generator: torch.Generator) -> Batch:
    """[B, ...] -> [B / M, M, ...] in a new random order; every sample appears once."""
    order = torch.randperm(len(batch.value), generator=generator).to(batch.value.device)
    return tree_map(lambda x: x[order].view(-1, minibatch_size, *x.shape[1:]), batch)


def pick(batch: Batch, k: int | Tensor) -> Batch:
    """The k-th minibatch."""
    return tree_map(lambda x: x[k], batch)
