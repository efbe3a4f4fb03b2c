"""The arrays of one vector step, laid out over one block of memory so that several processes can write their share."""

import math
from mmap import mmap
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box

from envs.base import EnvError, Step

_LINE = 64  # bytes; every array starts on its own cache line


class Arena(NamedTuple):
    """All arrays have the sub-environments as axis 0."""

    action: np.ndarray  # [N, A], in the dtype of the action space
    step: Step  # what a vector step returns
    length: np.ndarray  # [N] int64: steps begun in the running episode
    cursor: np.ndarray  # [N] int64: a share's first entry holds the sub-environment it is busy with


def spaces(observation: object, action: object, name: str) -> tuple[Box, Box]:
    """The two spaces of one sub-environment with a single axis each; EnvError if they are not continuous."""
    for role, space in (("observation", observation), ("action", action)):
        if not isinstance(space, Box):
            raise EnvError(f"{name}: its {role} space is {space}; this framework needs a continuous one (Box)")
        if math.prod(space.shape) == 0:
            raise EnvError(f"{name}: its {role} space {space} is empty")
    if not np.issubdtype(action.dtype, np.floating):
        raise EnvError(f"{name}: its action space {action} holds {action.dtype}, not floating-point numbers")
    flat = Box(
        observation.low.ravel().astype(np.float32), observation.high.ravel().astype(np.float32), dtype=np.float32
    )
    return flat, Box(action.low.ravel(), action.high.ravel(), dtype=action.dtype)


def arena_bytes(num_envs: int, observation_space: Box, action_space: Box) -> int:
    """Size of the block that ``arena`` needs."""
    return sum(size for _, _, size in _layout(num_envs, observation_space, action_space))


def arena(memory: mmap | bytearray, num_envs: int, observation_space: Box, action_space: Box) -> Arena:
    """Lay the arrays over ``memory``, which must hold ``arena_bytes`` zeroed bytes."""
    arrays, offset = [], 0
    for shape, dtype, size in _layout(num_envs, observation_space, action_space):
        arrays.append(np.ndarray(shape, dtype, memory, offset))
        offset += size
    action, length, cursor, *step = arrays
    return Arena(action, Step(*step), length, cursor)


def _layout(num_envs: int, observation_space: Box, action_space: Box) -> list[tuple[tuple[int, ...], np.dtype, int]]:
    scalar, observation = (num_envs,), (num_envs, *observation_space.shape)
    step = Step(
        obs=(observation, np.float32),
        reward=(scalar, np.float64),
        next_obs=(observation, np.float32),
        terminated=(scalar, np.bool_),
        truncated=(scalar, np.bool_),
        group=(scalar, np.int64),
        episode_return=(scalar, np.float64),
        episode_length=(scalar, np.int64),
    )
    own = (((num_envs, *action_space.shape), action_space.dtype), (scalar, np.int64), (scalar, np.int64))
    return [
        (shape, np.dtype(dtype), -(-math.prod(shape) * np.dtype(dtype).itemsize // _LINE) * _LINE)
        for shape, dtype in (*own, *step)
    ]
