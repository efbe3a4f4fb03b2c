"""Some steps of an environment, and what a check says of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from envs.base import Step, VectorEnv

Make = Callable[[int], VectorEnv]


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


def play(envs: VectorEnv, actions: np.ndarray, seed: int = 0) -> Seen:
    """Reset, then one step with each of ``actions`` [T, N, A]."""
    first = envs.reset(seed).copy()
    steps = [Step(*(np.array(x) for x in envs.step(action))) for action in actions]
    columns = Step(*(np.array(column) for column in zip(*steps, strict=True)))
    kept = (columns.obs, columns.reward, columns.next_obs, columns.terminated, columns.truncated)
    return Seen(first, actions, *kept, columns.episode_return, columns.episode_length)


def random_actions(envs: VectorEnv, steps: int, seed: int = 0, *, reach: float = 1.0) -> np.ndarray:
    """[T, N, A] uniform between the bounds, or within ``reach`` where there are none."""
    low = np.where(np.isfinite(envs.action_space.low), envs.action_space.low, -reach)
    high = np.where(np.isfinite(envs.action_space.high), envs.action_space.high, reach)
    shape = (steps, envs.num_envs, *(envs.action_space.shape or ()))
    return np.random.default_rng(seed).uniform(low, high, shape).astype(envs.action_space.dtype)


def at_random(make: Make, steps: int, num_envs: int = 2) -> Seen:
    """A fresh vector under random actions."""
    envs = make(num_envs)
    try:
        return play(envs, random_actions(envs, steps))
    finally:
        envs.close()
