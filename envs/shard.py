"""A share of the sub-environments, stepped one after the other in this process."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from mmap import mmap
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.arena import Arena, arena, spaces
from envs.base import EnvError, Step


class Shard:
    """Sub-environments ``first .. first + count - 1`` of a vector, writing their rows of the arena.

    A state is the beginning of the running episode (a seed or the state of the random generator) and the actions
    since: replayed, they give the same episode in any process, which a physics engine's own save file does not.
    """

    def __init__(self, make: Callable[[int], gymnasium.Env], name: str, first: int, count: int):
        self.first, self.name = first, name
        self.envs: list[gymnasium.Env] = []
        try:
            for index in range(first, first + count):
                self.envs.append(make(index))
            self.spaces = self._one_space()
        except BaseException:
            self.close()
            raise
        self._seed: list[int] = [0] * count
        self._start: list[dict] = [{}] * count  # how the running episode began
        self._past: list[bytearray] = [bytearray() for _ in range(count)]  # its actions
        self._return = [0.0] * count
        self._group = list(range(first, first + count))

    def _one_space(self) -> tuple[Box, Box]:
        kinds = [(env.observation_space, env.action_space) for env in self.envs]
        if any(kind != kinds[0] for kind in kinds):
            raise EnvError(f"{self.name}: its sub-environments have different observation or action spaces")
        flat = spaces(*kinds[0], self.name)
        self._observation_shape, self._action_shape = (tuple(space.shape or ()) for space in kinds[0])
        return flat

    def attach(self, memory: mmap | bytearray, num_envs: int) -> Arena:
        """Lay the arrays of all ``num_envs`` over ``memory`` and take the rows of this share; called once, first."""
        whole = arena(memory, num_envs, *self.spaces)
        rows = slice(self.first, self.first + len(self.envs))
        self._action = whole.action[rows]
        self._step = Step(*(array[rows] for array in whole.step))
        self._length, self._cursor = whole.length[rows], whole.cursor[rows]
        # The same memory in the shape the environments speak; a row takes any dtype and rounds to float32.
        self._obs = self._step.obs.reshape(-1, *self._observation_shape)
        self._next_obs = self._step.next_obs.reshape(-1, *self._observation_shape)
        return whole

    def reset(self, seeds: Sequence[int]) -> None:
        """Start every sub-environment anew, each from its own seed."""
        self._seed = list(seeds)
        for i in range(len(self.envs)):
            self._begin(i, {"seed": self._seed[i]})
        self._check_finite(self._step.obs)

    def step(self) -> None:
        """One step with the actions of the arena; an ended episode is followed by its reset at once."""
        out, returns, cursor, length = self._step, self._return, self._cursor, self._length
        obs, next_obs = self._obs, self._next_obs
        out.episode_return.fill(np.nan)
        out.episode_length.fill(0)
        out.group[:] = self._group  # the group in force during the transition, not that of the next episode
        flat = self._action.copy()  # an environment may keep its action
        actions = flat.reshape(-1, *self._action_shape)
        ended = []
        for i, env in enumerate(self.envs):
            cursor[0] = self.first + i
            length[i] += 1
            self._past[i] += flat[i].tobytes()
            try:
                next_obs[i], reward, terminated, truncated, info = env.step(actions[i])
            except Exception as error:
                raise self._failure(i, f"raised {type(error).__name__}: {error}") from error
            if "group" in info:
                out.group[i] = self._group[i] = info["group"]
            out.reward[i] = reward
            out.terminated[i] = terminated
            out.truncated[i] = truncated
            returns[i] += float(reward)
            if terminated or truncated:
                ended.append(i)
        self._check_finite(out.next_obs)
        self._check_finite(out.reward)
        out.obs[:] = out.next_obs
        for i in ended:
            out.episode_return[i] = returns[i]
            out.episode_length[i] = length[i]
            cursor[0] = self.first + i
            self._begin(i, {"rng": self._generator(i).bit_generator.state})
        if ended:
            self._check_finite(obs)

    def state(self) -> list[dict]:
        """One plain dict a sub-environment: strings, numbers, dicts."""
        return [
            {
                "seed": self._seed[i],
                "start": deepcopy(self._start[i]),
                "actions": bytes(self._past[i]).hex(),
                "obs": self._step.obs[i].tobytes().hex(),
            }
            for i in range(len(self.envs))
        ]

    def set_state(self, states: Sequence[dict]) -> None:
        """Replay every running episode from its beginning."""
        for i, state in enumerate(states):
            self._cursor[0] = self.first + i
            self._replay(i, state)

    def _replay(self, i: int, state: dict) -> None:
        try:
            self._seed[i], start = state["seed"], deepcopy(state["start"])
            actions = np.frombuffer(bytes.fromhex(state["actions"]), self._action.dtype)
            actions = actions.reshape(-1, *self._action_shape)
            expected = np.frombuffer(bytes.fromhex(state["obs"]), np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._failure(
                i, f"was given a state that does not fit it ({type(error).__name__}: {error})"
            ) from error
        if "rng" in start:
            # A generator of the saved kind must exist before its state can be put back.
            self.envs[i].reset(seed=self._seed[i])
            self._generator(i).bit_generator.state = start["rng"]
        self._begin(i, start)
        for action in actions:
            self._length[i] += 1
            self._past[i] += action.tobytes()
            self._obs[i], reward, terminated, truncated, info = self.envs[i].step(action.copy())
            self._group[i] = info.get("group", self._group[i])
            self._return[i] += float(reward)
            if terminated or truncated:
                break
        if len(self._past[i]) != actions.nbytes or not np.array_equal(self._step.obs[i], expected):
            raise self._failure(
                i, "came to another observation when its episode was replayed: it is not determined by seed and actions"
            )

    def close(self) -> None:
        """Close every sub-environment that was made."""
        while self.envs:
            self.envs.pop().close()

    def render(self, index: int) -> Any:
        """What sub-environment ``index`` of the vector draws; None where it is in another share."""
        return self.envs[index - self.first].render() if 0 <= index - self.first < len(self.envs) else None

    def _begin(self, i: int, start: dict) -> None:
        """A new episode: from a seed, or from the state of the sub-environment's generator that ``start`` names."""
        self._start[i] = start
        self._past[i].clear()
        self._return[i] = 0.0
        self._length[i] = 0
        try:
            self._obs[i], info = self.envs[i].reset(seed=start.get("seed"))
        except Exception as error:
            raise self._failure(i, f"raised {type(error).__name__} in reset: {error}") from error
        own = getattr(self.envs[i].unwrapped, "group", self.first + i)
        self._group[i] = info.get("group", own)

    def _generator(self, i: int) -> np.random.Generator:
        return self.envs[i].unwrapped.np_random

    def _check_finite(self, rows: np.ndarray) -> None:
        if np.isfinite(rows).all():
            return
        i = int(np.argmin(np.isfinite(rows).reshape(len(rows), -1).all(1)))
        what = "reward" if rows is self._step.reward else "observation"
        raise self._failure(i, f"gave a non-finite {what}: {rows[i]}")

    def _failure(self, i: int, what: str) -> EnvError:
        where = f"sub-environment {self.first + i} (seed {self._seed[i]}, step {self._length[i]} of its episode)"
        return EnvError(f"{self.name}: {where} {what}")
