"""Small environments with a fault each, for the tests."""

import os
import time

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Counter(gymnasium.Env):
    """Observes (index, step, a random number); even ones terminate after ``length`` steps, odd ones are truncated."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, index: int, length: int = 5):
        self.index, self.length = index, length

    def _look(self):
        return np.array([self.index, self.clock, self.luck])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.luck = 0, self.np_random.normal()
        return self._look(), {}

    def step(self, action):
        self.clock += 1
        self.luck = self.np_random.normal() + float(action.sum())
        terminated = self.clock == self.length and self.index % 2 == 0
        truncated = self.clock == self.length and self.index % 2 == 1
        return self._look(), self.index + 0.1 * self.clock, terminated, truncated, {}


class Faulty(Counter):
    """Does ``what`` in sub-environment 1 at step 3."""

    def __init__(self, index: int, what: str):
        super().__init__(index)
        self.what = what

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.index == 1 and self.clock == 3:
            if self.what == "observation":
                obs[1] = np.nan
            elif self.what == "reward":
                reward = np.inf
            elif self.what == "raise":
                raise ValueError("the floor is gone")
            elif self.what == "die":
                os._exit(3)
            elif self.what == "hang":
                time.sleep(1000)
        return obs, reward, terminated, truncated, info


class Stillborn(Counter):
    """Dies in its reset, where its index is odd."""

    def reset(self, *, seed=None, options=None):
        if self.index % 2:
            os._exit(3)
        return super().reset(seed=seed)


class Grouped(Counter):
    """Its group is ten times the number of its resets, and one more from step 3 on."""

    episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        obs, _ = super().reset(seed=seed)
        return obs, {"group": 10 * self.episode}

    def step(self, action):
        *out, info = super().step(action)
        return *out, {"group": 10 * self.episode + 1} if self.clock >= 3 else info


class Told(Counter):
    """Tells its group, 7, once an episode: at step 2."""

    def step(self, action):
        *out, _ = super().step(action)
        return *out, {"group": 7} if self.clock == 2 else {}


class Both(Counter):
    """Terminates in the very step in which the clock runs out."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        ended = terminated or truncated
        return obs, reward, ended, ended, info


class Keeper(Counter):
    """Keeps the action it was given; its reward is the change from the one before."""

    def reset(self, *, seed=None, options=None):
        self.kept = np.zeros(2)
        return super().reset(seed=seed)

    def step(self, action):
        change = float(np.abs(action - self.kept).sum())
        self.kept = action
        obs, _, *rest = super().step(action)
        return obs, change, *rest


class Restless(Counter):
    """Breaks the rules: draws from a generator that no seed governs."""

    def step(self, action):
        obs, *rest = super().step(action)
        obs[2] = np.random.default_rng().normal()
        return obs, *rest


class Image(Counter):
    """Observations and actions with several axes."""

    observation_space = Box(0, 255, (2, 3), np.uint8)
    action_space = Box(-1.0, 1.0, (2, 2), np.float64)

    def _look(self):
        return np.arange(6, dtype=np.uint8).reshape(2, 3) + self.clock

    def step(self, action):
        assert action.shape == (2, 2) and action.dtype == np.float64
        return super().step(action)
