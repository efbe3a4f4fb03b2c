"""How long a step takes, by trying; and actions to try one with."""

import time

import numpy as np
from gymnasium.spaces import Discrete

from envs.base import ActionSpace, VectorEnv


def random_actions(space: ActionSpace, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Actions ``[*shape, A]`` (discrete: ``shape``) inside of ``space``, in its dtype: uniform between two bounds,
    exponential from one, normal without any. Nothing of the space's own generator is used."""
    if isinstance(space, Discrete):
        return rng.integers(space.start, space.start + space.n, shape).astype(space.dtype)
    below, above = np.isfinite(space.low), np.isfinite(space.high)
    low, high = np.where(below, space.low, 0.0).astype(float), np.where(above, space.high, 0.0).astype(float)
    size = (*shape, *space.shape)
    unit, tail = rng.uniform(size=size), rng.exponential(size=size)
    between = low * (1.0 - unit) + high * unit  # not low + (high - low) unit: the width may be infinite
    drawn = np.select(
        [below & above, np.broadcast_to(below, size), np.broadcast_to(above, size)],
        [between, low + tail, high - tail],
        rng.standard_normal(size),
    )
    return np.clip(drawn, space.low, space.high).astype(space.dtype)


def seconds_per_step(env: VectorEnv, *, budget: float = 0.5, most: int = 50) -> float:
    """Seconds of one vector step, the median of at most ``most`` under random actions, after a first that is not counted.

    Ends after ``budget`` seconds: a slow environment is stepped a few times, a very slow one once, and that one counts.
    Resets the environment.
    """
    env.reset(0)
    rng = np.random.default_rng(0)
    taken: list[float] = []
    end = time.perf_counter() + budget
    while len(taken) <= most and (not taken or time.perf_counter() < end):
        action = random_actions(env.action_space, (env.num_envs,), rng)
        began = time.perf_counter()
        env.step(action)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:] or taken))
