"""What all Bullet tasks share: a world of their own, checks, the clock, a camera."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from envs.base import EnvError, Envs, VectorEnv
from envs.bullet.world import World
from envs.display import check_window
from envs.vector import vector

RenderMode = Literal["rgb_array", "human"]
_RENDER_MODES = get_args(RenderMode)


class BulletEnv(gymnasium.Env):
    """A gymnasium environment over one ``World``. A task loads its models in ``build``, and adds the rest."""

    metadata = {"render_modes": list(_RENDER_MODES), "render_fps": 60}  # noqa: RUF012 - as gymnasium declares it
    distance = 3.0  # m from which the camera looks
    about: Mapping[str, int] = MappingProxyType({})  # what the info of every reset holds

    def __init__(self, render_mode: str | None, *, gravity: float, time_step: float, substeps: int):
        if render_mode not in (None, *_RENDER_MODES):
            raise EnvError(f"render_mode {render_mode!r} is none of {', '.join(_RENDER_MODES)}")
        check_window(render_mode)
        self.render_mode = render_mode
        self.world = World(gravity=gravity, time_step=time_step, substeps=substeps, gui=render_mode == "human")
        try:
            actions, observations = self.build()
        except BaseException:
            self.world.close()
            raise
        self.world.remember()
        self._shape = (actions,)
        self.action_space = Box(-1.0, 1.0, self._shape, np.float32)
        self.observation_space = Box(-np.inf, np.inf, (observations,), np.float32)

    @abstractmethod
    def build(self) -> tuple[int, int]:
        """Load the models; return the sizes of action and observation."""

    @abstractmethod
    def begin(self) -> np.ndarray:
        """Place the robot in the pristine world; return the first observation."""

    @abstractmethod
    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """One time step: the observation, the reward, whether the task ended. ``action`` is finite."""

    @abstractmethod
    def centre(self) -> Sequence[float]:
        """Where the camera looks (m)."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.world.restore()
        return self.begin(), dict(self.about)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.world.alive()
        action = np.asarray(action, np.float32)
        if action.shape != self._shape:
            raise EnvError(f"action has shape {action.shape}, needs {self._shape}")
        if not math.isfinite(sum(action.tolist())):  # quicker than np.isfinite on arrays this small
            raise EnvError(f"action is not finite: {action}")
        obs, reward, terminated = self.advance(action)
        if self.render_mode == "human":
            self.world.show(self.centre(), self.distance)
        return obs, reward, terminated, False, {}

    def render(self) -> Any:
        """With ``rgb_array`` an image [240, 320, 3]; with ``human`` the window is drawn by every step."""
        return self.world.image(self.centre(), self.distance) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self.world.close()


def clocked(make: Callable[[int], gymnasium.Env], steps: int, num_envs: Envs, workers: int, name: str) -> VectorEnv:
    """A vector of a task whose episodes the clock truncates after ``steps``."""
    return vector(partial(_clocked, make, steps), num_envs, workers, name)


def _clocked(make: Callable[[int], gymnasium.Env], steps: int, index: int) -> gymnasium.Env:
    return TimeLimit(make(index), steps)


def limited(values: np.ndarray, bound: float) -> np.ndarray:
    """``values`` clipped to +-``bound``; half the cost of np.clip on arrays this small."""
    return np.minimum(np.maximum(values, -bound), bound)
