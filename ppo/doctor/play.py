"""Some steps of an environment, and what a check says of them."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from envs.action import random_actions
from envs.base import Step, VectorEnv

Make = Callable[[int], VectorEnv]


class Subject(NamedTuple):
    """What is examined: how to make a vector of it, under which configuration, and until when a check may play."""

    make: Make
    config: dict[str, Any]  # plain containers
    until: float = float("inf")  # of time.monotonic()


class Verdict(NamedTuple):
    """What a check says. ``level``: ok; note: worth knowing; fault: training would suffer."""

    level: str
    what: str
    tries: str = ""  # the override that helps, where one does


class Seen(NamedTuple):
    """Some steps of a vector of N environments: arrays [T, N, ...]."""

    first: np.ndarray  # [N, O] the observations of the reset
    action: np.ndarray
    obs: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode_return: np.ndarray
    episode_length: np.ndarray

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)


def play(envs: VectorEnv, actions: np.ndarray, seed: int = 0, *, until: float = float("inf")) -> Seen:
    """Reset, then one step with each of ``actions`` [T, N, A]; one at least, and none that begins after ``until``."""
    first = envs.reset(seed).copy()
    steps: list[Step] = []
    for action in actions:
        steps.append(Step(*(np.array(x) for x in envs.step(action))))
        if time.monotonic() > until:
            break
    columns = Step(*(np.array(column) for column in zip(*steps, strict=True)))
    return Seen(
        first=first,
        action=actions[: len(steps)],
        obs=columns.obs,
        reward=columns.reward,
        next_obs=columns.next_obs,
        terminated=columns.terminated,
        truncated=columns.truncated,
        episode_return=columns.episode_return,
        episode_length=columns.episode_length,
    )


def corners(space: Box, *, reach: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) [A], finite and inside of ``space``: its bounds, and ``reach`` from 0, or from the bound on the other
    side, where there is none."""
    low, high = space.low.astype(float), space.high.astype(float)
    lowest = np.where(np.isfinite(low), low, np.minimum(-reach, np.where(np.isfinite(high), high - reach, 0.0)))
    highest = np.where(np.isfinite(high), high, np.maximum(reach, np.where(np.isfinite(low), low + reach, 0.0)))
    return lowest, highest


def box(envs: VectorEnv) -> Box:
    """The action space of what is examined: continuous ones only."""
    assert isinstance(envs.action_space, Box)
    return envs.action_space


def inside(action: np.ndarray, space: Box) -> np.ndarray:
    """``action`` in the dtype of ``space``; rounding does not lead out of it."""
    return np.clip(action.astype(space.dtype), space.low, space.high)


def drawn(envs: VectorEnv, steps: int) -> np.ndarray:
    """[T, N, A] random actions inside of the space, the same in every call."""
    return random_actions(box(envs), (steps, envs.num_envs), np.random.default_rng(0))


def at_random(subject: Subject, steps: int, num_envs: int = 2) -> Seen:
    """A fresh vector under random actions."""
    envs = subject.make(num_envs)
    try:
        return play(envs, drawn(envs, steps), until=subject.until)
    finally:
        envs.close()
