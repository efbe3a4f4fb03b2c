"""A share of the sub-environments, stepped one after the other in this process."""

from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from mmap import mmap
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.arena import Arena, arena, not_finite, part, spaces
from envs.base import ActionSpace, EnvError, NotFinite


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
        self._seed = [0] * count
        self._start: list[dict] = [{}] * count  # how the running episode began
        self._log: deque[np.ndarray] = deque()  # [n, A] actions of the last steps, as far back as an episode needs
        self._steps = 0  # steps since reset
        self._since = [0] * count  # the step at which the running episode began
        self._return = np.zeros(count)
        self._group = np.arange(first, first + count)
        self._ended: list[int] = []  # whose episode ended in the last step

    def _one_space(self) -> tuple[Box, ActionSpace]:
        kinds = [(env.observation_space, env.action_space) for env in self.envs]
        if any(kind != kinds[0] for kind in kinds):
            raise EnvError(f"{self.name}: its sub-environments have different observation or action spaces")
        flat = spaces(*kinds[0], self.name)
        self._observation_shape, self._action_shape = (tuple(space.shape or ()) for space in kinds[0])
        return flat

    def attach(self, memory: mmap | bytearray, num_envs: int) -> Arena:
        """Lay the arrays of all ``num_envs`` over ``memory`` and take the rows of this share; called once, first."""
        whole = arena(memory, num_envs, *self.spaces)
        self._action, self._step, self._length, self._cursor = part(
            whole, slice(self.first, self.first + len(self.envs))
        )
        self._cursor[0] = self.first
        # The same memory in the shape the environments speak; a row takes any dtype and rounds to float32.
        self._obs = self._step.obs.reshape(-1, *self._observation_shape)
        self._next_obs = self._step.next_obs.reshape(-1, *self._observation_shape)
        return whole

    def reset(self, seeds: Sequence[int]) -> None:
        """Start every sub-environment anew, each from its own seed."""
        self._seed = list(seeds)
        self._restart()
        for i in range(len(self.envs)):
            self._begin(i, {"seed": self._seed[i]})
        self._check_finite(self._step.obs)

    def step(self) -> None:
        """One step with the actions of the arena; an ended episode is followed by its reset at once."""
        out, next_obs, cursor = self._step, self._next_obs, self._cursor
        if self._ended:
            self._no_end()
        out.group[:] = self._group  # the group in force during the transition, not that of the next episode
        self._log.append(self._action.copy())
        self._steps += 1
        self._length += 1
        actions = self._action.copy().reshape(-1, *self._action_shape)  # an environment may keep or change its action
        for i, env in enumerate(self.envs):
            cursor[0] = self.first + i
            try:
                next_obs[i], out.reward[i], terminated, truncated, info = env.step(actions[i])
            except Exception as error:
                raise self._failure(i, f"raised {type(error).__name__}: {error}") from error
            if "group" in info:
                out.group[i] = self._group[i] = info["group"]
            if terminated or truncated:
                self._ended.append(i)
                out.terminated[i], out.truncated[i] = terminated, truncated
        self._check_finite(out.next_obs)
        self._check_finite(out.reward)
        self._return += out.reward
        out.obs[:] = out.next_obs
        if self._ended:
            self._end()

    def _end(self) -> None:
        """Report the episodes that ended and begin the next ones."""
        for i in self._ended:
            self._step.episode_return[i] = self._return[i]
            self._step.episode_length[i] = self._length[i]
            self._begin(i, {"rng": self._generator(i).bit_generator.state})
        for _ in range(len(self._log) - (self._steps - min(self._since))):
            self._log.popleft()
        self._check_finite(self._step.obs)

    def _no_end(self) -> None:
        self._ended.clear()
        self._step.terminated.fill(False)
        self._step.truncated.fill(False)
        self._step.episode_return.fill(np.nan)
        self._step.episode_length.fill(0)

    def state(self) -> list[dict]:
        """One plain dict a sub-environment: strings, numbers, dicts."""
        return [
            {
                "seed": self._seed[i],
                "start": deepcopy(self._start[i]),
                "actions": b"".join(action[i].tobytes() for action in self._past(i)).hex(),
                "obs": self._step.obs[i].tobytes().hex(),
            }
            for i in range(len(self.envs))
        ]

    def _past(self, i: int) -> list[np.ndarray]:
        """The logged actions since the episode of ``i`` began."""
        length = self._steps - self._since[i]
        return list(self._log)[len(self._log) - length :]

    def set_state(self, states: Sequence[dict]) -> None:
        """Replay every running episode from its beginning."""
        pasts = [self._parse(i, state) for i, state in enumerate(states)]
        self._restart()
        self._steps = max(map(len, pasts))
        log = np.zeros((self._steps, *self._action.shape), self._action.dtype)
        for i, (state, past) in enumerate(zip(states, pasts)):
            log[self._steps - len(past) :, i] = past
            self._replay(i, state, past)
        self._log.extend(log)

    def _parse(self, i: int, state: dict) -> np.ndarray:
        """The actions [t, A] of a state; takes its seed."""
        try:
            self._seed[i] = int(state["seed"])
            state["start"].get("seed")
            self._bytes(state["obs"], np.float32).reshape(self._step.obs[i].shape)
            return self._bytes(state["actions"], self._action.dtype).reshape(-1, *self._action.shape[1:])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f"was given a state that does not fit it ({type(error).__name__}: {error})"
            raise self._failure(i, what) from error

    @staticmethod
    def _bytes(text: str, dtype: np.dtype | type) -> np.ndarray:
        return np.frombuffer(bytes.fromhex(text), dtype)

    def _replay(self, i: int, state: dict, past: np.ndarray) -> None:
        start = deepcopy(state["start"])
        if "rng" in start:
            # A generator of the saved kind must exist before its state can be put back.
            self._cursor[0] = self.first + i
            self.envs[i].reset(seed=self._seed[i])
            self._generator(i).bit_generator.state = start["rng"]
        self._begin(i, start)
        self._since[i] = self._steps - len(past)
        ended = False
        for action in past:
            self._length[i] += 1
            step = self.envs[i].step(action.reshape(self._action_shape).copy()[()])  # a discrete one as a number
            self._obs[i], reward, terminated, truncated, info = step
            self._group[i] = info.get("group", self._group[i])
            self._return[i] += float(reward)
            if ended := bool(terminated or truncated):
                break
        if ended or not np.array_equal(self._step.obs[i], self._bytes(state["obs"], np.float32)):
            what = "came to another observation when its episode was replayed: it is not determined by seed and actions"
            raise self._failure(i, what)

    def close(self) -> None:
        """Close every sub-environment that was made."""
        while self.envs:
            self.envs.pop().close()

    def render(self, index: int) -> Any:
        """What sub-environment ``index`` of the vector draws; None where it is in another share."""
        return self.envs[index - self.first].render() if 0 <= index - self.first < len(self.envs) else None

    def _restart(self) -> None:
        self._log.clear()
        self._steps = 0
        self._no_end()

    def _begin(self, i: int, start: dict) -> None:
        """A new episode: from a seed, or from the state of the sub-environment's generator that ``start`` names."""
        self._cursor[0] = self.first + i
        self._start[i] = start
        self._since[i] = self._steps
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
        if (i := not_finite(rows)) is not None:
            what = "reward" if rows is self._step.reward else "observation"
            raise self._failure(i, f"gave a non-finite {what}: {rows[i]}", NotFinite)

    def _failure(self, i: int, what: str, kind: type[EnvError] = EnvError) -> EnvError:
        where = f"sub-environment {self.first + i} (seed {self._seed[i]}, step {self._length[i]} of its episode)"
        return kind(f"{self.name}: {where} {what}")
