"""What robots have and gymnasium's own wrappers do not: sensors with noise, motors that answer late.

All their randomness is the environment's own ``np_random``, so that an episode can be replayed from its seed and actions.
"""

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class NoisyObservation(gymnasium.ObservationWrapper):
    """Gaussian noise of deviation ``sigma`` on every entry of an observation, drawn anew in each step; then it is put back
    into the bounds of its space. ``sigma``: one number, or one an entry, in the observation's units."""

    def __init__(self, env: gymnasium.Env, *, sigma: float | list[float]):
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, Box) or np.min(sigma) < 0:
            raise ValueError(f"sigma={sigma} on {space}: needs a Box and numbers that are not negative")
        self._box, self._sigma = space, np.broadcast_to(np.asarray(sigma, np.float64), space.shape)

    def observation(self, observation: Any) -> np.ndarray:
        space = self._box
        noisy = observation + self._sigma * self.np_random.standard_normal(space.shape)
        return np.clip(noisy, space.low, space.high).astype(space.dtype)


class DelayAction(gymnasium.ActionWrapper):
    """The action of ``steps`` steps ago; before there was one, the action in the middle of a bounded space, else zeros."""

    def __init__(self, env: gymnasium.Env, *, steps: int):
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box) or steps < 1:
            raise ValueError(f"steps={steps} on {space}: needs a Box and at least 1")
        middle = (space.low + space.high) / 2 if space.is_bounded() else np.zeros(space.shape)
        self._rest, self._waiting = middle.astype(space.dtype), deque(maxlen=steps)

    def reset(self, **given: Any) -> Any:
        self._waiting.extend([self._rest] * (self._waiting.maxlen or 0))
        return super().reset(**given)

    def action(self, action: np.ndarray) -> np.ndarray:
        late = self._waiting.popleft()
        self._waiting.append(np.array(action))
        return late
