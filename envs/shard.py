"""A share of the sub-environments, stepped one after the other in this process."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from mmap import mmap
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import metadata
from envs.arena import Arena, arena, not_finite, part, spaces
from envs.base import ActionSpace, EnvError, NoState, NotFinite
from envs.fault import RAISED, first_of, raised
from envs.flatten import columns, unpack
from envs.generator import Globals, decoded, draws, restore, said_where_shared, state_of
from envs.history import History
from envs.process import be_somewhere
from envs.reader import Answer, Reader, Unreadable


class Together(Protocol):
    """Steps all sub-environments of a share in one call, to the same bits as their own ``step()``. They name no groups."""

    def attach(self, rows: Arena, first: int) -> None:
        """Take the rows of the share, whose first is sub-environment ``first``; called once, first."""
        ...

    def step(self) -> bool:
        """With the actions of the rows: next_obs, reward, terminated, truncated. Whether an episode ended; what it raises is
        raised by the sub-environment of the cursor."""
        ...


class Shard:
    """Sub-environments ``first .. first + count - 1`` of a vector, writing their rows of the arena.

    A state is the beginning of the running episode (a seed or the state of the random generator) and the actions
    since: replayed, they give the same episode in any process, which a physics engine's own save file does not.
    """

    time_limit = float("inf")  # nobody watches over this process

    def __init__(
        self,
        make: Callable[[int], gymnasium.Env],
        name: str,
        first: int,
        count: int,
        *,
        together: Callable[[list[gymnasium.Env]], Together | None] | None = None,
    ):
        """``together``: gives what steps all of them at once; None where each has to step by itself."""
        self.first, self.name = first, name
        self.envs: list[gymnasium.Env] = []
        try:
            for index in range(first, first + count):
                self.envs.append(self._made(make, index))
            self.spaces = self._one_space()
            self._together = together(self.envs) if together else None
        except BaseException:
            self.close()
            raise
        self._seed = [0] * count
        self._history = History(count)
        self._return = np.zeros(count)
        self._group = np.arange(first, first + count)
        self._ended: list[int] = []  # whose episode ended in the last step
        self._looked = False  # whether a step was looked at for what it draws from

    def _made(self, make: Callable[[int], gymnasium.Env], index: int) -> gymnasium.Env:
        try:
            return make(index)
        except EnvError:
            raise
        except RAISED as error:
            raise raised(f"{self.name}: making sub-environment {index}", error) from error
        finally:
            be_somewhere()

    def _one_space(self) -> tuple[Box, ActionSpace]:
        try:
            kinds = [(env.observation_space, env.action_space) for env in self.envs]
        except RAISED as error:
            raise raised(f"{self.name}: reading its observation_space and action_space", error) from error
        if any(kind != kinds[0] for kind in kinds):
            raise EnvError(f"{self.name}: its sub-environments have different observation or action spaces")
        flat = spaces(*kinds[0], self.name)
        observation, action = kinds[0]
        rows = unpack(observation)
        self._observation_shape = tuple((flat[0] if rows else observation).shape or ())
        self._action_shape, self._discrete = tuple(action.shape or ()), isinstance(action, Discrete)
        self._read = Reader(self._observation_shape, rows)
        self.row = self._read.row
        self.columns = self._named(observation, flat[0].shape[0])
        return flat

    def _named(self, observation: gymnasium.Space, size: int) -> dict[str, range]:
        try:
            return columns(observation) or metadata.columns(self.envs[0], size)
        except EnvError as error:
            raise EnvError(f"{self.name}: {error}") from None

    @property
    def fps(self) -> float | None:
        """Pictures a second, as the environment's metadata say; None where they do not."""
        return metadata.fps(self.envs[0])

    def attach(self, memory: mmap | bytearray, num_envs: int) -> Arena:
        """Lay the arrays of all ``num_envs`` over ``memory`` and take the rows of this share; called once, first."""
        whole = arena(memory, num_envs, *self.spaces)
        rows = part(whole, slice(self.first, self.first + len(self.envs)))
        self._action, self._step, self._length, self._cursor = rows
        self._cursor[0] = self.first
        if self._together:
            self._together.attach(rows, self.first)
        # The same memory in the shape the environments speak; a row takes any dtype and rounds to its own.
        self._obs = self._step.obs.reshape(-1, *self._observation_shape)
        self._next_obs = self._step.next_obs.reshape(-1, *self._observation_shape)
        return whole

    def reset(self, seeds: Sequence[int]) -> None:
        """Start every sub-environment anew, each from its own seed."""
        self._looked = False
        with self._looking():
            self._start(seeds)

    def _start(self, seeds: Sequence[int]) -> None:
        self._seed = list(seeds)
        self._history.restart()
        self._no_end()
        for i in range(len(self.envs)):
            self._begin(i, {"seed": self._seed[i]})
        self._check_finite(self._step.obs)

    def step(self) -> None:
        """One step with the actions of the arena; an ended episode is followed by its reset at once."""
        if self._looked:
            self._move()
            return
        self._looked = True  # the first step after a reset shows what the others do
        with self._looking():
            self._move()

    def _looking(self) -> AbstractContextManager[None]:
        return said_where_shared(self.name) if self.first == 0 else nullcontext()

    def _move(self) -> None:
        out = self._step
        if self._ended:
            self._no_end()
        out.group[:] = self._group  # the group in force during the transition, not that of the next episode
        self._history.add(self._action)
        self._length += 1
        self._one_by_one() if self._together is None else self._at_once(self._together)
        self._check_finite(out.next_obs)
        self._check_finite(out.reward)
        self._return += out.reward
        out.obs[:] = out.next_obs
        if self._ended:
            self._end()

    def _one_by_one(self) -> None:
        out, next_obs, cursor = self._step, self._next_obs, self._cursor
        for i, action in enumerate(self._as_taken(self._action)):
            cursor[0] = self.first + i
            next_obs[i], out.reward[i], terminated, truncated, group = self._advance(i, action)
            if group is not None:
                out.group[i] = self._group[i] = group
            if terminated or truncated:
                self._ended.append(i)
                out.terminated[i], out.truncated[i] = terminated, truncated

    def _at_once(self, together: Together) -> None:
        try:
            ended = together.step()
        except RAISED as error:
            raise self._raised(int(self._cursor[0]) - self.first, "step()", error) from error
        if ended:
            self._ended.extend(np.flatnonzero(self._step.terminated | self._step.truncated).tolist())

    def _as_taken(self, actions: np.ndarray) -> Iterable[Any]:
        """``actions [n, A]`` one by one, in the shape of the space and in memory of their own: an environment may keep or
        change its action. A discrete one is a number; one of a box without axes an array, as ``space.sample()`` gives."""
        actions = actions.copy().reshape(-1, *self._action_shape)
        if self._action_shape or self._discrete:
            return actions
        return [actions[i, ...] for i in range(len(actions))]

    def given(self, action: np.ndarray) -> Any:
        """One action [A] as an environment receives it."""
        (taken,) = self._as_taken(np.asarray(action)[None])
        return taken

    def _advance(self, i: int, action: Any) -> Answer:
        """One step of sub-environment ``i``, and what it gave."""
        try:
            return self._read.step(self.envs[i].step(action))
        except Unreadable as error:
            raise self._failure(i, f": {error}") from None
        except RAISED as error:
            raise self._raised(i, "step()", error) from error

    def _end(self) -> None:
        """Report the episodes that ended and begin the next ones."""
        for i in self._ended:
            self._step.episode_return[i] = self._return[i]
            self._step.episode_length[i] = self._length[i]
            state = state_of(self.envs[i])
            self._begin(i, {"lost": state} if isinstance(state, str) else {"rng": state})
        self._history.trim()
        self._check_finite(self._step.obs)

    def _no_end(self) -> None:
        self._ended.clear()
        self._step.terminated.fill(False)
        self._step.truncated.fill(False)
        self._step.episode_return.fill(np.nan)
        self._step.episode_length.fill(0)

    def state(self) -> list[dict]:
        """One plain dict a sub-environment: strings, numbers, dicts. NoState where an episode cannot be replayed."""
        starts = [self._beginning(i) for i in range(len(self.envs))]
        return [
            {
                "seed": self._seed[i],
                "start": starts[i],
                "actions": past.tobytes().hex(),
                "obs": self._step.obs[i].tobytes().hex(),
                "return": float(self._return[i]).hex(),
            }
            for i, past in enumerate(self._history.actions(self._action))
        ]

    def _beginning(self, i: int) -> dict:
        try:
            return self._history.beginning(i)
        except NoState as error:
            raise NoState(f"{self.name}: sub-environment {self.first + i}: {error}") from error

    def set_state(self, states: Sequence[dict]) -> None:
        """Replay every running episode from its beginning."""
        pasts = [self._parse(i, state) for i, state in enumerate(states)]
        self._history.restart(pasts)
        self._no_end()
        for i, (state, past) in enumerate(zip(states, pasts)):
            self._replay(i, state, past)

    def _parse(self, i: int, state: dict) -> np.ndarray:
        """The actions [t, A] of a state; takes its seed."""
        try:
            self._seed[i] = int(state["seed"])
            state["start"].get("seed")
            self._seen(state).reshape(self._step.obs[i].shape)
            return self._bytes(state["actions"], self._action.dtype).reshape(-1, *self._action.shape[1:])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = f" was given a state that does not fit it ({type(error).__name__}: {error})"
            raise self._failure(i, what) from error

    def _seen(self, state: dict) -> np.ndarray:
        """The observation [O] of a state. Earlier versions rounded those of every space to float32."""
        narrow = len(state["obs"]) == 2 * 4 * math.prod(self._observation_shape)  # two letters a byte
        return self._bytes(state["obs"], np.float32 if narrow else self._step.obs.dtype)

    @staticmethod
    def _bytes(text: str, dtype: np.dtype | type) -> np.ndarray:
        return np.frombuffer(bytes.fromhex(text), dtype)

    def _replay(self, i: int, state: dict, past: np.ndarray) -> None:
        before, start = Globals.now(), state["start"]
        if "rng" in start:
            start = {"rng": decoded(start["rng"])}
            self._reset(i, self._seed[i])  # a generator of the saved kind must exist before its state can be put back
            try:
                restore(self.envs[i], start["rng"])
            except RAISED as error:
                raise self._raised(i, "taking the saved state of its np_random", error) from error
        self._begin(i, start, ago=len(past))
        ended = False
        for action in self._as_taken(past):
            self._length[i] += 1
            self._obs[i], reward, terminated, truncated, group = self._advance(i, action)
            self._group[i] = self._group[i] if group is None else group
            self._return[i] += reward
            if ended := terminated or truncated:
                break
        seen = self._seen(state)
        other = "observation" if ended or not np.array_equal(self._step.obs[i].astype(seen.dtype), seen) else None
        if other is None and "return" in state:  # earlier versions kept none
            other = None if float(self._return[i]).hex() == state["return"] else "return"
        if other is not None:
            used = before.used()
            why = draws(used) if used else "it is not determined by seed and actions"
            raise self._failure(i, f" came to another {other} when its episode was replayed: {why}")

    def close(self) -> None:
        """Close every sub-environment that was made, whatever the others do; then raise what the first raised."""
        failures = []
        while self.envs:
            try:
                self.envs.pop().close()
            except RAISED as error:
                failures.append(raised(f"{self.name}: close() of sub-environment {self.first + len(self.envs)}", error))
        first_of(failures)

    def render(self, index: int) -> np.ndarray | None:
        """The picture of sub-environment ``index`` of the vector; None where it is in another share."""
        i = index - self.first
        if not 0 <= i < len(self.envs):
            return None
        if type(self.envs[i].unwrapped).render is gymnasium.Env.render:
            raise self._failure(i, ": it has no render(), so it cannot be drawn")
        try:
            return self._read.frame(self.envs[i].render())
        except Unreadable as error:
            raise self._failure(i, f": {error}") from None
        except RAISED as error:
            raise self._raised(i, "render()", error) from error

    def _begin(self, i: int, start: dict, *, ago: int = 0) -> None:
        """A new episode: from a seed, or from the state of the sub-environment's generator that ``start`` names. ``ago``: how
        many of the steps known already belong to it."""
        self._cursor[0] = self.first + i
        self._history.begin(i, start, ago=ago)
        self._return[i] = 0.0
        self._length[i] = 0
        self._obs[i], group = self._reset(i, start.get("seed"))
        self._group[i] = self.first + i if group is None else group

    def _reset(self, i: int, seed: int | None) -> tuple[np.ndarray, int | None]:
        """``reset()`` of sub-environment ``i``: the observation, and the group where it names one."""
        self._cursor[0] = self.first + i
        try:
            return self._read.reset(self.envs[i].reset(seed=seed))
        except Unreadable as error:
            raise self._failure(i, f": {error}") from None
        except RAISED as error:
            text = str(error)
            if (
                isinstance(error, TypeError)
                and "unexpected keyword" in text
                and ("'seed'" in text or "'options'" in text)
            ):
                what = f": reset() must take seed and options: def reset(self, *, seed=None, options=None) ({error})"
                raise self._failure(i, what) from error
            raise self._raised(i, "reset()", error) from error
        finally:
            be_somewhere()

    def _check_finite(self, rows: np.ndarray) -> None:
        if (i := not_finite(rows)) is not None:
            what = "reward" if rows is self._step.reward else "observation"
            raise self._failure(i, f" gave a non-finite {what}: {rows[i]}", NotFinite)

    def _raised(self, i: int, call: str, error: BaseException) -> EnvError:
        return raised(f"{self._where(i)}: {call}", error)

    def _failure(self, i: int, what: str, kind: type[EnvError] = EnvError) -> EnvError:
        return kind(f"{self._where(i)}{what}")

    def _where(self, i: int) -> str:
        place = f"(seed {self._seed[i]}, step {self._length[i]} of its episode)"
        return f"{self.name}: sub-environment {self.first + i} {place}"
