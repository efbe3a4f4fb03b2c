"""The arrays of one vector step, laid out over one block of memory so that several processes can write their share."""

import math
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space

from envs.base import ActionSpace, EnvError, Step
from envs.flatten import box

_LINE = 64  # bytes; every array starts on its own cache line


class Arena(NamedTuple):
    """All arrays have the sub-environments as axis 0."""

    action: np.ndarray  # [N, A], or [N] where it is Discrete, in the dtype of the action space
    step: Step  # what a vector step returns
    length: np.ndarray  # [N] int64: steps begun in the running episode
    cursor: np.ndarray  # [N] int64: a share's first entry holds the sub-environment it is busy with


def spaces(observation: object, action: object, name: str) -> tuple[Box, ActionSpace]:
    """The two spaces of one sub-environment: the row of its observation, and its action, a box with a single axis,
    Discrete, or MultiDiscrete with a single axis. EnvError, with a way out, if they are of another kind."""
    if not isinstance(observation, Space):
        if callable(observation):
            raise EnvError(f"{name}: it has an observation space for each of several agents; needed is one agent's")
        raise EnvError(f"{name}: its observation space is {observation}; needed is one of gymnasium's")
    try:
        flat = box(observation)
    except EnvError as error:
        raise EnvError(f"{name}: {error}") from None
    _has_entries(flat, "observation", name)
    if isinstance(action, Discrete):
        return flat, action
    if isinstance(action, MultiDiscrete):
        _has_entries(action, "action", name)
        return flat, MultiDiscrete(action.nvec.ravel(), dtype=action.dtype, start=action.start.ravel())
    if not isinstance(action, Box):
        raise EnvError(
            f"{name}: its action space is {action}; needed is a Box, Discrete or MultiDiscrete. Make it MultiDiscrete, one "
            "number for each part (with network=categorical), or a Box of float32 that the environment rounds inside"
        )
    if not np.issubdtype(action.dtype, np.floating):
        raise EnvError(
            f"{name}: its action space {action} holds {action.dtype}, not floating-point numbers. Make it a Box of float32 "
            "with the same bounds and round inside of the environment, or Discrete or MultiDiscrete (with network=categorical)"
        )
    _has_entries(action, "action", name)
    return flat, Box(action.low.ravel(), action.high.ravel(), dtype=np.dtype(action.dtype).type)


def _has_entries(space: Box | MultiDiscrete, role: str, name: str) -> None:
    if math.prod(space.shape) == 0:
        raise EnvError(f"{name}: its {role} space {space} is empty")


def arena_bytes(num_envs: int, observation_space: Box, action_space: ActionSpace) -> int:
    """Size of the block that ``arena`` needs."""
    return sum(size for _, _, size in _layout(num_envs, observation_space, action_space))


def arena(memory: mmap | bytearray, num_envs: int, observation_space: Box, action_space: ActionSpace) -> Arena:
    """Lay the arrays over ``memory``, which must hold ``arena_bytes`` zeroed bytes."""
    arrays, offset = [], 0
    for shape, dtype, size in _layout(num_envs, observation_space, action_space):
        arrays.append(np.ndarray(shape, dtype, memory, offset))
        offset += size
    action, length, cursor, *step = arrays
    return Arena(action, Step(*step), length, cursor)


def part(whole: Arena, rows: slice) -> Arena:
    """These rows of it, in the same memory."""
    return Arena(whole.action[rows], Step(*(x[rows] for x in whole.step)), whole.length[rows], whole.cursor[rows])


def not_finite(rows: np.ndarray) -> int | None:
    """The first of ``rows [n, ...]`` that holds a NaN or an infinity; None where there is none."""
    flat = rows.reshape(-1)
    # The cheap question first: whatever is not finite makes the sum of squares so. (So may very large values.)
    if math.isfinite(flat.dot(flat)):
        return None
    finite = np.isfinite(rows).reshape(len(rows), -1).all(1)
    return None if finite.all() else int(np.argmin(finite))


def _layout(
    num_envs: int, observation_space: Box, action_space: ActionSpace
) -> list[tuple[tuple[int, ...], np.dtype, int]]:
    """Shape, dtype and place in bytes of every array: action, length, cursor, then the fields of Step."""
    scalar, observation = (num_envs,), (num_envs, *observation_space.shape)
    arrays: list[tuple[tuple[int, ...], Any]] = [
        ((num_envs, *(action_space.shape or ())), action_space.dtype),
        (scalar, np.int64),
        (scalar, np.int64),
        (observation, observation_space.dtype),  # obs
        (scalar, np.float64),  # reward
        (observation, observation_space.dtype),  # next_obs
        (scalar, np.bool_),  # terminated
        (scalar, np.bool_),  # truncated
        (scalar, np.int64),  # group
        (scalar, np.float64),  # episode_return
        (scalar, np.int64),  # episode_length
    ]
    sized = ((shape, np.dtype(dtype)) for shape, dtype in arrays)
    return [(shape, dtype, -(-math.prod(shape) * dtype.itemsize // _LINE) * _LINE) for shape, dtype in sized]
