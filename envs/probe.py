"""Tiny tasks with known answers: what a correct PPO must find, in seconds.

Every task is one small class that says in its docstring what it isolates, and computes the answer: ``value(obs, gamma)``
is the value of the best policy, ``best(obs)`` its mean action (None where the action has no effect).
"""

from abc import abstractmethod
from functools import partial
from typing import Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.base import Envs, VectorEnv
from envs.vector import vector

Task = Literal["constant", "observation", "delay", "target", "clock", "ending", "cue"]


def probe(num_envs: Envs, workers: int, *, task: Task) -> VectorEnv:
    """A probe task by name: see ``TASKS``."""
    return vector(partial(_make, task), num_envs, workers, f"probe {task}")


class Probe(gymnasium.Env):
    """One observation and one action; a task adds ``start`` and ``move``."""

    observation_space = Box(-1.0, 1.0, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    clock = 0  # steps since reset
    here = 0.0  # the observation

    def start(self) -> float:
        """The first observation of an episode."""
        return 0.0

    @abstractmethod
    def move(self, action: float) -> tuple[float, float, bool, bool]:
        """The next observation, the reward, terminated, truncated."""

    @staticmethod
    @abstractmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        """The best policy's value at ``obs [*B]``."""

    @staticmethod
    def best(obs: np.ndarray) -> np.ndarray | None:
        """The best policy's mean action at ``obs [*B]``; None where every action is as good."""
        return None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.clock, self.here = 0, self.start()
        return np.array([self.here], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.clock += 1
        self.here, reward, terminated, truncated = self.move(float(action[0]))
        return np.array([self.here], np.float32), reward, terminated, truncated, {}


class Constant(Probe):
    """One step, reward 1: V = 1. Isolates the critic's regression onto its target."""

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        return 0.0, 1.0, True, False

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return np.ones_like(obs)


class Observation(Probe):
    """One step, the observation is -1 or 1 and so is the reward: V = obs. Isolates what the critic sees."""

    def start(self) -> float:
        return float(self.np_random.choice((-1.0, 1.0)))

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        return self.here, self.here, True, False

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return obs


class Delay(Probe):
    """Two steps, observations 0 and 1, reward only after the second: V(0) = gamma, V(1) = 1. Isolates discounting."""

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        last = self.clock == 2
        return 1.0, float(last), last, False

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return np.where(obs > 0.5, 1.0, gamma)


class Target(Probe):
    """One step, reward -(action - obs / 2)^2: best mean action obs / 2, V = 0 without noise. Isolates the actor.

    A policy with standard deviation s has V = -s^2 at best.
    """

    def start(self) -> float:
        return float(self.np_random.uniform(-1.0, 1.0))

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        return self.here, -((action - 0.5 * self.here) ** 2), True, False

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return np.zeros_like(obs)

    @staticmethod
    def best(obs: np.ndarray) -> np.ndarray:
        return 0.5 * obs


class Clock(Probe):
    """Reward 1 a step and nothing else happens until the clock stops it at step 10: V = 1 / (1 - gamma).

    Isolates the bootstrap at a truncation: without it V is at most the sum of ten discounted rewards.
    """

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        return 0.0, 1.0, False, self.clock == 10

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return np.full_like(obs, 1.0 / (1.0 - gamma))


class Ending(Probe):
    """One step, reward 1; observation 1 says that it terminates, -1 that it is truncated (and followed by the same).

    V(1) = 1 and V(-1) = 1 / (1 - gamma). Isolates termination from truncation, and the true successor from the first
    observation of the next episode, which may be of the other kind.
    """

    def start(self) -> float:
        return float(self.np_random.choice((-1.0, 1.0)))

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        return self.here, 1.0, self.here > 0, self.here < 0

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        return np.where(obs > 0, 1.0, 1.0 / (1.0 - gamma))


class Cue(Probe):
    """Eleven steps; only the first observation is not 0 but the cue, -1 or 1. The last action is asked for it: reward 1
    where it has the cue's sign, else 0. V(cue) = gamma^10; without memory it is half of that. Isolates memory.
    """

    cue = 0.0

    def start(self) -> float:
        self.cue = float(self.np_random.choice((-1.0, 1.0)))
        return self.cue

    def move(self, action: float) -> tuple[float, float, bool, bool]:
        last = self.clock == 11
        return 0.0, float(last and action * self.cue > 0), last, False

    @staticmethod
    def value(obs: np.ndarray, gamma: float) -> np.ndarray:
        """Where the cue is shown; k steps later gamma^(10 - k), which no observation tells."""
        return np.full_like(obs, gamma**10)


TASKS: dict[str, type[Probe]] = {
    "constant": Constant,
    "observation": Observation,
    "delay": Delay,
    "target": Target,
    "clock": Clock,
    "ending": Ending,
    "cue": Cue,
}


def _make(task: str, index: int) -> gymnasium.Env:
    return TASKS[task]()
