"""MuJoCo tasks stepped by EnvPool's C++ threads, behind the same protocol."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from envs.arena import arena, arena_bytes, not_finite, spaces
from envs.base import EnvError, Envs, NoState, NotFinite, Plain, Step, VectorEnv, indices, seeds


def envpool(num_envs: Envs, workers: int, *, id: str) -> VectorEnv:
    """EnvPool's task ``id``, on ``workers`` + 1 threads: this process only waits for them."""
    envs = indices(num_envs)
    if len(envs) < 1 or workers < 0:
        raise EnvError(f"{id}: {len(envs)} environments in {workers} workers: needs at least 1 and 0")
    return _Pool(envs, min(workers + 1, len(envs)), id)


def _as_it_is(obs: Any) -> np.ndarray:
    return np.asarray(obs)


class _Pool(Plain):
    """Left alone, EnvPool begins the next episode in the step after its end and ignores that step's action. Here the
    ended ones are reset at once, by name, so that every row is a real step. Its generators cannot be read: no state.
    """

    device = None
    fps = None
    columns: dict[str, range] = {}  # noqa: RUF012 - a constant
    time_limit = math.inf  # there are no processes to wait for

    def __init__(self, envs: range, threads: int, id: str):
        self.name, self.num_envs, self._envs, self._threads = id, len(envs), envs, threads
        self._pool = self._make([0] * len(envs))
        self.observation_space, self.action_space = spaces(self._pool.observation_space, self._pool.action_space, id)
        block = bytearray(arena_bytes(len(envs), self.observation_space, self.action_space))
        self._arena = arena(block, len(envs), self.observation_space, self.action_space)
        self._arena.step.group[:] = np.array(envs)
        self._return = np.zeros(len(envs))
        self._ready = False
        self.row: Callable[[Any], np.ndarray] = _as_it_is

    def _make(self, own: list[int]) -> Any:
        try:
            import envpool
        except ImportError as error:
            raise EnvError(
                f"{self.name}: env=envpool needs EnvPool: pip install 'envpool>=1.2,<2' ({error})"
            ) from error
        if self.name not in envpool.list_all_envs():
            raise EnvError(f"{self.name}: EnvPool has no such task; envpool.list_all_envs() names those it has")
        # Its seeds are signed 32-bit numbers.
        own = [seed & 0x7FFFFFFF for seed in own]
        return envpool.make_gymnasium(self.name, num_envs=self.num_envs, num_threads=self._threads, seed=own)

    def reset(self, seed: int, *, first: int = 0) -> np.ndarray:
        """Start every sub-environment anew from ``seed``, in a new pool: a pool takes its seeds when it is made."""
        self._alive("reset")
        self._pool.close()
        self._pool = self._make(seeds(seed, range(self._envs.start + first, self._envs.stop + first)))
        self._arena.step.obs[:] = self._rows(self._pool.reset()[0])
        self._return[:] = 0.0
        self._arena.length[:] = 0
        self._ready = True
        return self._arena.step.obs

    def step(self, action: np.ndarray) -> Step:
        """Apply ``action [N, A]``."""
        self._alive("step")
        if not self._ready:
            raise EnvError(f"{self.name}: step() needs a reset() first")
        if np.shape(action) != self._arena.action.shape:
            raise EnvError(f"{self.name}: action has shape {np.shape(action)}, needs {self._arena.action.shape}")
        self._arena.action[:] = action
        self._finite("the action for", self._arena.action)
        out = self._arena.step
        obs, out.reward[:], out.terminated[:], out.truncated[:], _ = self._pool.step(self._arena.action)
        out.next_obs[:] = self._rows(obs)
        self._finite("the observation of", out.next_obs)
        self._finite("the reward of", out.reward)
        self._return += out.reward
        self._arena.length[:] += 1
        ended = np.flatnonzero(out.terminated | out.truncated)
        out.episode_return.fill(np.nan)
        out.episode_length.fill(0)
        out.obs[:] = out.next_obs
        if len(ended):
            out.episode_return[ended], out.episode_length[ended] = self._return[ended], self._arena.length[ended]
            self._return[ended], self._arena.length[ended] = 0.0, 0
            out.obs[ended] = self._rows(self._pool.reset(ended)[0])
        return out

    def state(self) -> list[dict]:
        raise NoState(f"{self.name}: EnvPool keeps its generators to itself; env=mujoco can be continued exactly")

    def set_state(self, state: list[dict]) -> np.ndarray:
        raise NoState(f"{self.name}: EnvPool keeps its generators to itself; env=mujoco can be continued exactly")

    def render(self, index: int = 0) -> np.ndarray:
        raise EnvError(f"{self.name}: env=envpool does not render here; env=mujoco does")

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _rows(self, obs: np.ndarray) -> np.ndarray:
        return obs.reshape(len(obs), -1)

    def _finite(self, what: str, rows: np.ndarray) -> None:
        if (index := not_finite(rows)) is not None:
            raise NotFinite(f"{self.name}: {what} sub-environment {self._envs[index]} is not finite: {rows[index]}")

    def _alive(self, what: str) -> None:
        if self._pool is None:
            raise EnvError(f"{self.name}: {what}() after close()")
