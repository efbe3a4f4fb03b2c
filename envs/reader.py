"""What an environment returns, read once and strictly: nothing is broadcast, parsed or cut.

Arrays of size one count as their number, an ``info`` of None as an empty one. Everything else that is not what
gymnasium's interface and the environment's own spaces say is refused, with what came and what was expected. A step that
is as it should be costs well below a microsecond: types are compared, shapes are looked at, nothing is converted.
"""

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from envs.base import EnvError

_STEP = "gymnasium's step() must return (obs, reward, terminated, truncated, info)"
_RESET = "gymnasium's reset() must return (obs, info)"
_FLOATS, _FLAGS = frozenset({float, np.float64, np.float32}), frozenset({bool, np.bool_})  # taken as they are
_LARGEST = 2**63  # group ids are 64-bit integers


class Unreadable(EnvError):
    """What was returned does not fit. The message names the call, what came and what was expected; not who returned it."""


# What one step gave: the observation, of the shape that the space says and any kind of number; reward; terminated;
# truncated; ``info["group"]`` where it is there. A plain tuple: a named one would be half of the cost.
Answer = tuple[np.ndarray, float, bool, bool, int | None]


class Reader:
    """Reads what environments return whose observations have ``shape``. Raises Unreadable.

    ``unpack``: what makes an array of that shape of an observation that is none, see ``envs.flatten``.
    """

    def __init__(self, shape: tuple[int, ...], unpack: Callable[[Any, str], np.ndarray] | None = None):
        self._shape, self._unpack = shape, unpack
        self._dtype: np.dtype | None = None  # of the last array that was looked at in full

    def step(self, result: Any) -> Answer:
        """What ``step()`` returned."""
        if type(result) is not tuple or len(result) != 5:
            result = self._five(result)
        obs, reward, terminated, truncated, info = result
        if type(obs) is not np.ndarray or obs.dtype is not self._dtype or obs.shape != self._shape:
            obs = self._observation(obs, "step")
        if type(reward) not in _FLOATS:
            reward = _number(reward, "step(): reward")
        if type(terminated) not in _FLAGS:
            terminated = _flag(terminated, "step(): terminated")
        if type(truncated) not in _FLAGS:
            truncated = _flag(truncated, "step(): truncated")
        if type(info) is not dict:
            info = _info(info, "step")
        group = _group(info["group"], "step") if "group" in info else None
        return obs, reward, terminated, truncated, group

    def reset(self, result: Any) -> tuple[np.ndarray, int | None]:
        """What ``reset()`` returned: the observation, and the group where ``info`` names one."""
        pair = isinstance(result, tuple | list) and len(result) == 2
        if not pair or not (result[1] is None or isinstance(result[1], Mapping)):
            old = isinstance(result, np.ndarray | float | int)
            alone = ", as gym's old interface did" if old else ""
            raise Unreadable(f"reset() returned {said(result)}{alone}; {_RESET}")
        obs, info = result
        group = _group(info["group"], "reset") if info and "group" in info else None
        return self._observation(obs, "reset"), group

    def row(self, obs: Any) -> np.ndarray:
        """One observation as the environment gives it, as its row [O]."""
        return self._observation(obs, "obs").ravel()

    def frame(self, result: Any) -> np.ndarray:
        """What ``render()`` returned: a picture [H, W, 3] of bytes; how transparent it is, [H, W, 4] says, is left out."""
        if (
            isinstance(result, np.ndarray)
            and result.dtype == np.uint8
            and result.ndim == 3
            and result.shape[2] in (3, 4)
        ):
            return result[..., :3].copy()  # an environment may draw into one array again and again
        what = f"{said(result)} of {result.dtype}" if isinstance(result, np.ndarray) else said(result)
        raise Unreadable(f"render() gave {what}, not a picture: an array [height, width, 3] of uint8")

    @staticmethod
    def _five(result: Any) -> tuple:
        if isinstance(result, tuple | list) and len(result) == 5:
            return tuple(result)
        four = isinstance(result, tuple | list) and len(result) == 4
        old = ", as gym's old interface did: (obs, reward, done, info)" if four else ""
        raise Unreadable(f"step() returned {said(result)}{old}; {_STEP}")

    def _observation(self, obs: Any, call: str) -> np.ndarray:
        if self._unpack:
            return self._unpack(obs, call)
        array = as_array(obs)
        if array is None:
            raise Unreadable(f"{call}(): observation is {said(obs)}, its space says an array of shape {self._shape}")
        if array.shape != self._shape:
            raise Unreadable(f"{call}(): observation has shape {array.shape}, its space says {self._shape}")
        self._dtype = array.dtype
        return array


def said(value: Any) -> str:
    """``value`` in an error message: short, in one line."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple | list):
        return f"{'an empty' if not value else 'a'} {type(value).__name__}{f' of {len(value)}' if value else ''}"
    if value is None or isinstance(value, str | bool | int | float | np.generic):
        return reprlib.repr(value)
    return f"of type {type(value).__name__}"


def as_array(value: Any) -> np.ndarray | None:
    """``value`` as an array of numbers; None where it is none: text, objects, rows of different lengths."""
    try:
        array = np.asarray(value)
    except Exception:  # what an object does when it is made an array of is up to its class
        return None
    return array if array.dtype.kind in "biuf" else None


def _number(value: Any, what: str, wanted: str = "one number") -> float:
    array = as_array(value)
    if array is None:
        raise Unreadable(f"{what} is {said(value)}, must be {wanted}")
    if array.size != 1:
        raise Unreadable(f"{what} has shape {array.shape}, must be {wanted}")
    return float(array.item())


def _flag(value: Any, what: str) -> bool:
    number = _number(value, what, "True or False")
    if number not in (0.0, 1.0):  # among them NaN, which is true in Python
        raise Unreadable(f"{what} is {said(value)}, must be True or False")
    return number == 1.0


def _info(value: Any, call: str) -> Mapping:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise Unreadable(f"{call}(): info is {said(value)}, must be a dict")


def _group(value: Any, call: str) -> int:
    array = as_array(value)
    if array is not None and array.size == 1:
        number = array.item()
        if number == number // 1 and -_LARGEST <= number < _LARGEST:
            return int(number)
    raise Unreadable(f"{call}(): info['group'] must be a whole number, not {said(value)}")
