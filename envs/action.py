"""From the policy's unbounded action to one the environment takes. The policy's own action is what a trainer stores."""

import numpy as np
from gymnasium.spaces import Box, Discrete

from envs.base import ActionSpace, EnvError


def clip(action: np.ndarray, space: ActionSpace) -> np.ndarray:
    """``min(max(action, low), high)`` of ``action [*B, A]``, in the dtype of the space; discrete ones, which count from
    0, from where the space begins."""
    if isinstance(space, Discrete):
        return action + space.start
    return np.clip(action, space.low, space.high).astype(space.dtype, copy=False)


def tanh(action: np.ndarray, space: ActionSpace) -> np.ndarray:
    """``low + (high - low) (tanh(action) + 1) / 2`` of ``action [*B, A]``; EnvError where the space has no bounds."""
    if not isinstance(space, Box) or not space.is_bounded():
        raise EnvError(f"action=tanh needs an action space with bounds on both sides, not {space}; use action=clip")
    squashed = space.low + (space.high - space.low) * (0.5 * (np.tanh(action) + 1.0))
    return clip(squashed, space)  # rounding may step over a bound


def untanh(received: np.ndarray, space: Box) -> np.ndarray:
    """The action that ``tanh`` makes this of; at most arctanh(0.999) in size, as the bounds themselves have none."""
    unit = 2 * (received - space.low) / (space.high - space.low) - 1
    return np.arctanh(np.clip(unit, -0.999, 0.999))
