"""Any number of worlds of a batched task, stepped as one tensor program where the learner is."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.base import ActionSpace, EnvError, Envs, Plain, Step, indices, seeds
from envs.batched.random import uniform
from envs.batched.task import Task
from envs.device import Tally, marked


class World(NamedTuple):
    """All that a step depends on, a row a world."""

    state: Tensor  # [N, S]
    key: Tensor  # [N] int64: its seed
    episode: Tensor  # [N] int64: how many it has begun
    tally: Tally

    @staticmethod
    def begin(task: Task, keys: Tensor) -> "World":
        """The first episode of worlds with these seeds."""
        episode = torch.zeros_like(keys)
        state = task.begin(uniform(keys, episode, task.draws))
        return World(state, keys, episode, Tally.empty(len(keys), keys.device))


class Moved(NamedTuple):
    """What a step shows, beside the world after it; fields as in ``Step``."""

    obs: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    truncated: Tensor
    episode_return: Tensor
    episode_length: Tensor


def advance(task: Task, world: World, action: Tensor, *, look: bool = False) -> tuple[World, Moved]:
    """One step of every world; those whose episode ends begin their next one, and so do those that break: a number that is
    not finite is a truncation. A pure function.

    look: first whether any ended, and spare the rest where none did. That is the same, and pays where looking costs
    nothing: on the CPU.
    """
    state, reward, terminated = task.move(world.state, action)
    next_obs = task.observe(state)
    reward, broken = marked(reward, next_obs)
    truncated = (world.tally.length >= task.limit - 1) | broken
    ended = terminated | truncated
    if look and not ended.any():
        tally, none = world.tally.going(reward), torch.zeros_like(world.tally.length)
        moved = Moved(next_obs, reward, next_obs, terminated, truncated, torch.full_like(tally.total, math.nan), none)
        return World(state, world.key, world.episode, tally), moved
    tally, episode_return, episode_length = world.tally.add(reward, ended)
    episode = world.episode + ended
    first = task.begin(uniform(world.key, episode, task.draws, state.dtype))
    state = torch.where(ended[:, None], first, state)
    obs = torch.where(ended[:, None], task.observe(first), next_obs)
    moved = Moved(obs, reward, next_obs, terminated, truncated, episode_return, episode_length)
    return World(state, world.key, episode, tally), moved


def result(given: tuple, tensors: list[Tensor]) -> tuple[World, Moved]:
    """What ``advance`` gave, of its tensors."""
    state, key, episode, total, length, *moved = tensors
    return World(state, key, episode, Tally(total, length)), Moved(*moved)


class Batched(Plain):
    """``N`` worlds of a task behind the protocol of vector environments, on a device."""

    columns: dict[str, range] = {}  # noqa: RUF012 - a constant
    time_limit = math.inf  # there are no processes to wait for

    def __init__(self, task: Task, envs: Envs, device: torch.device, *, masks: bool = False):
        own = indices(envs)
        if len(own) < 1:
            raise EnvError(f"{task.name}: {len(own)} environments: needs at least 1")
        self.name, self.num_envs = f"batched {task.name}", len(own)
        self.device: torch.device | None = device
        self.masks = masks
        self.fps: float | None = task.fps
        self.observation_space = task.observation_space
        self.action_space: ActionSpace = task.action_space
        self._task, self._own = task, own
        self._program: Callable[[World, Tensor], tuple[World, Moved]] = partial(
            advance, task, look=device.type == "cpu"
        )
        self._world: World | None = None
        self._group = torch.arange(own.start, own.stop, device=device)

    def reset(self, seed: int, *, first: int = 0) -> Tensor:
        """Start every world anew from ``seed``; returns ``obs [N, O]``."""
        own = seeds(seed, range(self._own.start + first, self._own.stop + first))
        self._world = World.begin(self._task, torch.tensor(own, device=self.device))
        return self._task.observe(self._world.state)

    @torch.no_grad()
    def step(self, action: Tensor) -> Step:
        """Apply ``action [N, A]``."""
        if self._world is None:
            raise EnvError(f"{self.name}: step() needs a reset() or set_state() first")
        if action.shape != (self.num_envs, *self._task.action_space.shape):
            raise EnvError(
                f"{self.name}: action has shape {tuple(action.shape)}, needs {self._task.action_space.shape} a world"
            )
        self._world, moved = self._program(self._world, action)
        given: Any = {"group": self._group, **moved._asdict()}
        return Step(**given)

    def state(self) -> dict[str, Tensor]:
        """The world as it is, ``{name: [N, ...]}``."""
        if self._world is None:
            raise EnvError(f"{self.name}: state() needs a reset() first")
        state, key, episode, tally = self._world
        return {"state": state, "key": key, "episode": episode, "total": tally.total, "length": tally.length}

    def set_state(self, state: dict[str, Tensor]) -> Tensor:
        """Continue from ``state()``; returns ``obs [N, O]``."""
        there = {name: x.to(self.device) for name, x in state.items()}
        try:
            tally = Tally(there.pop("total"), there.pop("length"))
            world = World(tally=tally, **there)
        except (KeyError, TypeError) as error:
            raise EnvError(f"{self.name}: a state of {', '.join(state)} is not one of this world") from error
        if len(world.state) != self.num_envs:
            raise EnvError(f"{self.name}: a state of {len(world.state)} sub-environments does not fit {self.num_envs}")
        self._world = world
        return self._task.observe(world.state)

    def compile(self, compiled: Callable[[Callable, Callable], Callable]) -> None:
        """Have ``compiled`` make the program that steps all of them."""
        plain = partial(advance, self._task)
        made = compiled(plain, result)
        if made is not plain:
            self._program = made

    def row(self, obs: Any) -> np.ndarray:
        return np.asarray(obs)

    def render(self, index: int = 0) -> np.ndarray:
        raise EnvError(f"{self.name}: does not draw pictures")

    def close(self) -> None:
        """Nothing is held that would not go by itself."""
