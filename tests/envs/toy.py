"""Small environments with a fault each, for the tests."""

import os
import random
import sys
import time

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete


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


class Misread(Counter):
    """Does ``what`` in sub-environment 1: from step 3 on, or in its constructor, reset, render or close."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, index: int, what: str):
        super().__init__(index)
        self.what = what if index == 1 else ""
        self._fail("constructor")

    def _fail(self, call):
        if self.what == call:
            {}["left_foot"]

    def reset(self, *, seed=None, options=None):
        self._fail("reset")
        obs, info = super().reset(seed=seed)
        return obs if self.what == "old reset" else (obs, info)

    def step(self, action):
        obs, *rest = super().step(action)
        if self.clock < 3:
            return obs, *rest
        self._fail("step")
        if self.what == "exit":
            sys.exit("the simulator gives up")
        return obs[:1] if self.what == "shape" else obs, *rest

    def render(self):
        self._fail("render")
        return np.full((2, 3, 3), self.clock, np.uint8)

    def close(self):
        self._fail("close")


class OtherRng(Counter):
    """Draws from a generator of the kind ``kind``."""

    def __init__(self, index: int, kind: str):
        super().__init__(index, 3)
        self.kind = kind

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.np_random = self._generator(seed)
        self.clock, self.luck = 0, self._draw()
        return self._look(), {}

    def _generator(self, seed):
        if self.kind == "RandomState":
            return np.random.RandomState(seed)
        if self.kind == "random":
            return random.Random(seed)
        return np.random.Generator(getattr(np.random, self.kind)(seed))

    def _draw(self):
        return self.np_random.random() if self.kind == "random" else self.np_random.normal()

    def step(self, action):
        self.clock += 1
        self.luck = self._draw() + float(action.sum())
        return self._look(), 0.0, False, self.clock == self.length, {}


class GlobalRng(Counter):
    """Draws from numpy's global generator."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.luck = np.random.normal()  # noqa: NPY002 - its fault
        return self._look(), {}


class Shaped(Counter):
    """Refuses actions that are not in its space, in shape and dtype."""

    def __init__(self, index: int, action_space: gymnasium.Space):
        super().__init__(index, 100)
        self.action_space = action_space

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        assert isinstance(action, np.ndarray) and action.dtype == self.action_space.dtype
        action[...] = np.nan if np.issubdtype(action.dtype, np.floating) else -99  # its own to keep and to spoil
        return super().step(np.zeros(1))


class Sluggish(Counter):
    """Takes 0.5 s for a step in a worker."""

    def step(self, action):
        time.sleep(0.5 * (self.index % 2))
        return super().step(action)


class Unseen(Counter):
    """Knows nothing of pictures."""

    def __init__(self):
        super().__init__(0)


gymnasium.register("Unseen-v0", Unseen)


class Buttons(gymnasium.Env):
    """Three numbers are shown, and asked for: reward 1 for each that is given. By chance 1/2 + 1/3 + 1/4."""

    observation_space = Box(-1.0, 1.0, (3,))
    action_space = MultiDiscrete([2, 3, 4], start=[0, -1, 5])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.asked = self.np_random.integers(0, self.action_space.nvec)
        return (2 * self.asked / (self.action_space.nvec - 1) - 1).astype(np.float32), {}

    def step(self, action):
        assert action in self.action_space
        right = action == self.asked + self.action_space.start
        return np.zeros(3, np.float32), float(right.sum()), True, False, {}
