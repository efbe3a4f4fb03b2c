"""One world of a batched task as an environment of gymnasium: ``gymnasium.make("envs/CartPoleSwingUp-v0")``."""

from typing import Any

import gymnasium
import numpy as np
import torch

from envs.batched.tasks import TASKS, Name


class Single(gymnasium.Env):
    """The task of that name, with a clock of its own; random numbers are those of ``reset(seed=...)``."""

    def __init__(self, task: Name):
        self._task = TASKS[task]()
        self.observation_space, self.action_space = self._task.observation_space, self._task.action_space
        self._clock = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        drawn = self.np_random.random((1, self._task.draws), np.float32)
        self._state, self._clock = self._task.begin(torch.from_numpy(drawn)), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        given = torch.tensor(np.asarray(action, np.float32)[None])
        self._state, reward, terminated = self._task.move(self._state, given)
        self._clock += 1
        return self._seen(), reward.item(), bool(terminated), self._clock >= self._task.limit, {}

    def _seen(self) -> np.ndarray:
        return self._task.observe(self._state)[0].numpy().copy()
