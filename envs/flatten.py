"""Observations of every space that gymnasium flattens, as one row of numbers; the keys of a Dict name its columns.

The row is gymnasium's own (``gymnasium.spaces.utils.flatten``): boxes one after the other, a Discrete as one-hot. What
came is looked at first, as everything else that an environment returns: nothing is broadcast, parsed or cut.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.spaces.utils import flatdim, flatten

from envs.base import EnvError
from envs.reader import Unreadable, as_array, said

_LEAVES = (Box, Discrete, MultiBinary, MultiDiscrete)
Unpack = Callable[[Any, str], np.ndarray]  # (observation, which call it is from) -> [O]; raises Unreadable


def leaves(space: Space, path: str = "") -> Iterator[tuple[str, Space]]:
    """The parts of a space in the order of the row, each with its name: "imu/gyro", or "part0" for a Tuple's first.

    Raises EnvError for a space that is of no fixed size.
    """
    parts = space.spaces.items() if isinstance(space, Dict) else _parts(getattr(space, "spaces", ()))
    if isinstance(space, Dict | Tuple):
        for key, part in parts:
            yield from leaves(part, f"{path}/{key}" if path else str(key))
    elif isinstance(space, _LEAVES):
        yield path, space
    else:
        part = f"part {path} of an observation" if path else "an observation"
        raise EnvError(
            f"{part} is a {type(space).__name__}, which has no fixed number of entries; wrap the environment (env.wrappers) in "
            "one whose observation is a Box, Dict, Tuple, Discrete, MultiBinary or MultiDiscrete"
        )


def _parts(spaces: tuple[Space, ...]) -> list[tuple[str, Space]]:
    return [(f"part{i}", part) for i, part in enumerate(spaces)]  # a number would be taken for that of a column


def columns(space: Space) -> dict[str, range]:
    """Where in the row each named part is; of a single unnamed box, nothing. EnvError where two are called alike."""
    found, start = {}, 0
    for name, leaf in leaves(space):
        if name in found:
            raise EnvError(f"two parts of its observation are called {name}; rename a key")
        found[name] = range(start, start := start + flatdim(leaf))
    found.pop("", None)
    return found


def box(space: Space) -> Box:
    """The space of the row, [O] float32; or float64 where float32 cannot hold every digit of a part of it, so that who
    normalises can subtract before rounding."""
    low, high = (np.concatenate(ends) for ends in zip(*map(_ends, leaves(space)), strict=True))
    return Box(low, high, dtype=low.dtype.type)


def _ends(leaf: tuple[str, Space]) -> tuple[np.ndarray, np.ndarray]:
    _, space = leaf
    if isinstance(space, Box):
        held = np.result_type(space.dtype, np.float32) == np.float32
        kind = np.float32 if held else np.float64
        return space.low.ravel().astype(kind), space.high.ravel().astype(kind)
    return np.zeros(flatdim(space), np.float32), np.ones(flatdim(space), np.float32)


def unpack(space: Space) -> Unpack | None:
    """What makes the row of an observation; None where it is a box, which is one already."""
    return (
        None if isinstance(space, Box) else lambda obs, call: np.concatenate([*_rows(space, obs, call, "observation")])
    )


def _rows(space: Space, obs: Any, call: str, what: str) -> Iterator[np.ndarray]:
    if isinstance(space, Dict):
        if not isinstance(obs, Mapping) or obs.keys() != space.spaces.keys():
            wanted = f"its space says a dict of {', '.join(map(str, space.spaces))}"
            came = f"a dict of {', '.join(map(str, obs)) or 'nothing'}" if isinstance(obs, Mapping) else said(obs)
            raise Unreadable(f"{call}(): {what} is {came}, {wanted}")
        for key, part in space.spaces.items():
            yield from _rows(part, obs[key], call, f"{what}[{key!r}]")
    elif isinstance(space, Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
            raise Unreadable(f"{call}(): {what} is {said(obs)}, its space says a tuple of {len(space.spaces)}")
        for i, (part, value) in enumerate(zip(space.spaces, obs, strict=True)):
            yield from _rows(part, value, call, f"{what}[{i}]")
    else:
        yield _row(space, obs, call, what)


def _row(space: Space, obs: Any, call: str, what: str) -> np.ndarray:
    array = as_array(obs)
    if array is None:
        raise Unreadable(f"{call}(): {what} is {said(obs)}, its space says {space}")
    if isinstance(space, Discrete) and array.size == 1:
        array = array.reshape(())
    if array.shape != (space.shape or ()):
        raise Unreadable(f"{call}(): {what} has shape {array.shape}, its space says {space.shape or 'one number'}")
    if isinstance(space, Box):
        return array.ravel()
    whole = np.where(np.isfinite(array), array, -1.5).astype(np.int64)  # what is not finite equals no whole number
    low, count = getattr(space, "start", 0), getattr(space, "nvec", getattr(space, "n", 2))
    count = 2 if isinstance(space, MultiBinary) else count
    if not (np.array_equal(whole, array) and np.all((whole >= low) & (whole < low + count))):
        raise Unreadable(f"{call}(): {what} is {array.tolist()}, its space says {space}")
    return np.asarray(flatten(space, whole.item() if isinstance(space, Discrete) else whole.astype(space.dtype)))
