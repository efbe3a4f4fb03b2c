"""``N`` environments behind one protocol, in this process or in worker processes."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs.arena import Arena, arena_bytes, not_finite, part
from envs.base import EnvError, Envs, NotFinite, Step, VectorEnv, indices, seeds
from envs.shard import Shard
from envs.workers import Workers


def vector(
    make: Callable[[int], gymnasium.Env], num_envs: Envs, workers: int, name: str, *, time_limit: float = 60.0
) -> VectorEnv:
    """A vector of ``num_envs`` environments; ``make(i)`` makes the ``i``-th, in the process that will step it.

    A range of indices instead of a number: this part of a larger vector, whose rows are what they are in the whole.
    This process and ``workers`` others share them evenly. Trajectories do not depend on ``workers``. A worker that does
    not answer within ``time_limit`` seconds is reported as hung. ``name`` is for people and error messages.
    """
    envs = indices(num_envs)
    if len(envs) < 1 or workers < 0:
        raise EnvError(f"{name}: {len(envs)} environments in {workers} workers: needs at least 1 and 0")
    workers = min(workers, len(envs) - 1)
    if workers:
        crew = Workers(make, name, envs, workers, time_limit)
        return Vector(crew, crew.attach(), envs, name)
    crew = Shard(make, name, envs.start, len(envs))
    memory = bytearray(arena_bytes(envs.stop, *crew.spaces))
    return Vector(crew, crew.attach(memory, envs.stop), envs, name)


class Vector:
    """The checks that a trainer relies on, in front of a crew that does the stepping (a shard or worker processes)."""

    def __init__(self, crew: Shard | Workers, arena: Arena, envs: range, name: str):
        self.name, self.num_envs = name, len(envs)
        self.observation_space, self.action_space = crew.spaces
        self._crew: Shard | Workers | None = crew
        self._envs = envs
        self._arena = part(arena, slice(envs.start, envs.stop))
        self._ready = False  # an episode is running everywhere

    def reset(self, seed: int, *, first: int = 0) -> np.ndarray:
        """Start every sub-environment anew from ``seed``; returns ``obs [N, O]``. ``first``: with the seeds of as many
        sub-environments further on."""
        self._alive("reset")
        self._ready = False
        self._crew.reset(seeds(seed, range(self._envs.start + first, self._envs.stop + first)))
        self._ready = True
        return self._arena.step.obs

    def step(self, action: np.ndarray) -> Step:
        """Apply ``action [N, A]``. After an EnvError here a reset is needed."""
        self._alive("step")
        if not self._ready:
            raise EnvError(f"{self.name}: step() needs a reset() or set_state() first")
        if np.shape(action) != self._arena.action.shape:
            raise EnvError(f"{self.name}: action has shape {np.shape(action)}, needs {self._arena.action.shape}")
        self._arena.action[:] = action
        if (index := not_finite(self._arena.action)) is not None:
            raise NotFinite(
                f"{self.name}: the action for sub-environment {self._envs[index]} is not finite: {action[index]}"
            )
        self._ready = False
        self._crew.step()
        self._ready = True
        return self._arena.step

    def state(self) -> list[dict]:
        """What ``set_state`` needs to continue bit for bit elsewhere; grows with the running episodes' lengths."""
        self._alive("state")
        if not self._ready:
            raise EnvError(f"{self.name}: state() needs a reset() first")
        return self._crew.state()

    def set_state(self, state: list[dict]) -> np.ndarray:
        """Continue from ``state()``; returns ``obs [N, O]``. EnvError where an environment does not come back exactly."""
        self._alive("set_state")
        if len(state) != self.num_envs:
            raise EnvError(f"{self.name}: a state of {len(state)} sub-environments does not fit {self.num_envs}")
        self._ready = False
        self._crew.set_state(state)
        self._ready = True
        return self._arena.step.obs

    def render(self, index: int = 0) -> Any:
        """What sub-environment ``index`` draws in the render mode it was made with."""
        self._alive("render")
        return self._crew.render(self._envs[index])

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def _alive(self, what: str) -> None:
        if self._crew is None:
            raise EnvError(f"{self.name}: {what}() after close()")
