"""From a rollout ``[T, N, ...]`` to samples to learn from, and from those to minibatches ``[K, M, ...]``."""

import torch
from jaxtyping import Int
from torch import Tensor

from ppo.types import Batch, Gaussian, Transition, tree_map


def allocate(num_steps: int, num_envs: int, obs_size: int, action_size: int) -> Transition:
    """An empty rollout ``[T, N, ...]``, filled anew in every iteration."""

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty((num_steps, num_envs, *shape), dtype=dtype)

    return Transition(
        obs=empty(obs_size),
        action=empty(action_size),
        policy=Gaussian(empty(action_size), empty(action_size)),
        reward=empty(dtype=torch.float64),
        next_obs=empty(obs_size),
        terminated=empty(dtype=torch.bool),
        done=empty(dtype=torch.bool),
        group=empty(dtype=torch.int64),
    )


def flatten_time(batch: Batch) -> Batch:
    """[T, N, ...] -> [T * N, ...]."""
    return tree_map(lambda x: x.flatten(0, 1), batch)


def shuffle(batch: Batch, minibatch_size: int, order: Int[Tensor, " B"]) -> Batch:
    """[B, ...] -> [B / M, M, ...] in this order, a permutation."""
    order = order.to(batch.value.device)
    return tree_map(lambda x: x[order].view(len(order) // minibatch_size, minibatch_size, *x.shape[1:]), batch)


def unstack(batch: Batch) -> list[Batch]:
    """[K, M, ...] -> the K minibatches."""
    (*leaves,) = (list(x) if isinstance(x, Tensor) else [Gaussian(*p) for p in zip(*x, strict=True)] for x in batch)
    return [Batch(*minibatch) for minibatch in zip(*leaves, strict=True)]
