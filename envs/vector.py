"""``N`` environments behind one protocol, in this process or in worker processes."""

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import cast

import gymnasium
import numpy as np

from envs.arena import Arena, arena_bytes, not_finite, part
from envs.base import EnvError, Envs, NoState, NotFinite, Plain, Step, VectorEnv, indices, say_once, seeds
from envs.shard import Shard, Together
from envs.workers import Workers

_LONG = 10.0  # s of making, resetting or a first step after which it is said what is being waited for


def vector(
    make: Callable[[int], gymnasium.Env],
    num_envs: Envs,
    workers: int,
    name: str,
    *,
    together: Callable[[list[gymnasium.Env]], Together | None] | None = None,
) -> VectorEnv:
    """A vector of ``num_envs`` environments; ``make(i)`` makes the ``i``-th, in the process that will step it.

    A range of indices instead of a number: this part of a larger vector, whose rows are what they are in the whole.
    This process and ``workers`` others share them evenly. Trajectories do not depend on ``workers``. ``name`` is for
    people and error messages. ``together``: see ``envs.shard``.
    """
    envs = indices(num_envs)
    if len(envs) < 1 or workers < 0:
        raise EnvError(f"{name}: {len(envs)} environments in {workers} workers: needs at least 1 and 0")
    workers = min(workers, len(envs) - 1)
    share = partial(Shard, make, name, together=together)
    with saying(f"{name}: making the environments"):
        if workers:
            crew = Workers(share, name, envs, workers)
            return Vector(crew, crew.attach(), envs, name)
        crew = share(envs.start, len(envs))
        memory = bytearray(arena_bytes(envs.stop, *crew.spaces))
        return Vector(crew, crew.attach(memory, envs.stop), envs, name)


@contextmanager
def saying(what: str) -> Generator[None, None, None]:
    """Say ``what`` is being waited for where it takes long."""

    def say() -> None:
        print(f"{what} takes more than {_LONG:g} s; still waiting", file=sys.stderr, flush=True)

    timer = threading.Timer(_LONG, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Vector(Plain):
    """The checks that a trainer relies on, in front of a crew that does the stepping (a shard or worker processes)."""

    def __init__(self, crew: Shard | Workers, arena: Arena, envs: range, name: str):
        self.name, self.num_envs = name, len(envs)
        self.observation_space, self.action_space = crew.spaces
        self.fps, self.columns, self.row, self.given = crew.fps, crew.columns, crew.row, crew.given
        self.device = None
        self._crew: Shard | Workers | None = crew
        self._envs = envs
        self._arena = part(arena, slice(envs.start, envs.stop))
        self._ready = False  # an episode is running everywhere
        self._first = True  # no step was made yet

    @property
    def time_limit(self) -> float:
        """Seconds that a worker process may take to answer; infinite: as long as it lives."""
        return self._alive("time_limit").time_limit

    @time_limit.setter
    def time_limit(self, seconds: float) -> None:
        self._alive("time_limit").time_limit = seconds

    def reset(self, seed: int, *, first: int = 0) -> np.ndarray:
        """Start every sub-environment anew from ``seed``; returns ``obs [N, O]``. ``first``: with the seeds of as many
        sub-environments further on."""
        crew = self._alive("reset")
        self._ready = False
        with saying(f"{self.name}: reset()"):
            crew.reset(seeds(seed, range(self._envs.start + first, self._envs.stop + first)))
        self._ready = True
        return self._arena.step.obs

    def step(self, action: np.ndarray) -> Step:
        """Apply ``action [N, A]``. After an EnvError here a reset is needed."""
        crew = self._alive("step")
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
        if self._first:
            with saying(f"{self.name}: the first step"):
                crew.step()
            self._first = False
        else:
            crew.step()
        self._ready = True
        return self._arena.step

    def state(self) -> list[dict]:
        """What ``set_state`` needs to continue bit for bit elsewhere; grows with the running episodes' lengths, up to
        ``envs.history.LONGEST`` steps. NoState, said once as well, where an episode cannot be replayed."""
        crew = self._alive("state")
        if not self._ready:
            raise EnvError(f"{self.name}: state() needs a reset() first")
        try:
            return crew.state()
        except NoState as error:
            say_once(
                f"{error}; as long as that is so, the run can be resumed only with new episodes: exact_resume=false"
            )
            raise

    def set_state(self, state: list[dict]) -> np.ndarray:
        """Continue from ``state()``; returns ``obs [N, O]``. EnvError where an environment does not come back exactly."""
        crew = self._alive("set_state")
        if len(state) != self.num_envs:
            raise EnvError(f"{self.name}: a state of {len(state)} sub-environments does not fit {self.num_envs}")
        self._ready = False
        with saying(f"{self.name}: replaying the saved episodes"):
            crew.set_state(state)
        self._ready = True
        return self._arena.step.obs

    def render(self, index: int = 0) -> np.ndarray:
        """The picture [H, W, 3] uint8 of sub-environment ``index``, made with ``render_mode="rgb_array"``."""
        return cast(np.ndarray, self._alive("render").render(self._envs[index]))

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.close()

    def _alive(self, what: str) -> Shard | Workers:
        """The crew, for a call of ``what``; EnvError after ``close``."""
        if self._crew is None:
            raise EnvError(f"{self.name}: {what}() after close()")
        return self._crew
