"""What foreign simulators of many worlds on a device have in common: groups of observations, episodes counted, numbers that
they tell of themselves, one line where their code raises."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from envs.base import EnvError, NoState, Plain, Step, say_once, seeds
from envs.device import Tally
from envs.fault import RAISED, raised
from envs.groups import Groups, kind


class Simulator(Plain):
    """``num_envs`` worlds of one simulator ``sim``. A subclass steps and resets it, says what it must have (``NEEDS``) and
    calls ``_describe`` once it has seen observations."""

    NEEDS: tuple[str, ...] = ()
    fps: float | None = None
    time_limit = math.inf  # there are no processes to wait for

    def __init__(
        self,
        make: Callable[[], Any],
        num_envs: int,
        device: torch.device,
        name: str,
        *,
        random_start: bool,
        masks: bool,
    ):
        self.name, self.num_envs, self.device, self.masks = name, num_envs, device, masks
        self._make, self._random_start = make, random_start
        self._sim: Any = self._made()

    def _made(self) -> Any:
        sim = self._call("its maker", self._make)
        for attribute in (*self.NEEDS, *(("max_episode_length", "episode_length_buf") if self._random_start else ())):
            if not hasattr(sim, attribute):
                raise EnvError(f"{self.name}: what was made, {kind(sim)}, has no {attribute}")
        if sim.num_envs != self.num_envs:
            raise EnvError(f"{self.name}: has num_envs={sim.num_envs}, was asked for {self.num_envs}")
        return sim

    def _describe(self, obs: Any, actions: int) -> Tensor:
        """Take groups and spaces from the first observations; returns these as rows."""
        self._groups = Groups(obs, self.num_envs, self.device, self.name)
        self.columns, self.roles, self.row = self._groups.columns, self._groups.roles, self._groups.one
        self.observation_space = Box(-np.inf, np.inf, (self._groups.size,), np.float32)
        self.action_space = Box(-np.inf, np.inf, (actions,), np.float32)
        self._begin()
        self._group = torch.arange(self.num_envs, device=self.device)
        return self._groups.row("get_observations()", obs)

    def _begin(self) -> None:
        """All episodes begin here. What was said of earlier ones and never asked for, as in an evaluation, is let go."""
        self._log: dict[str, list[Tensor]] = {}
        self._tally = Tally.empty(self.num_envs, self.device)

    def _spread(self, seed: int) -> None:
        """Where ``random_start`` asks for it, have every first episode begin at a random place of its time limit, uniform:
        otherwise all worlds would reach it in one step. By a generator of its own."""
        if self._random_start:
            generator = torch.Generator(self.device).manual_seed(seed)
            clock = self._sim.episode_length_buf
            most = self._sim.max_episode_length
            if isinstance(most, Tensor) and most.ndim:  # each world has its own
                drawn = torch.rand(clock.shape, generator=generator, device=self.device) * most
            else:
                drawn = torch.randint(int(most), clock.shape, generator=generator, device=self.device)
            self._sim.episode_length_buf = drawn.to(clock.dtype)

    def _step(
        self, obs: Tensor, reward: Tensor, next_obs: Tensor, terminated: Tensor, truncated: Tensor, broken: Tensor
    ) -> Step:
        """``broken``: where the step was not finite, its reward ``marked``. To the learner that is a truncation, also where
        the simulator goes on; the return of an episode that it is in is NaN, so that it is not counted."""
        self._tally, episode_return, episode_length = self._tally.add(reward, terminated | truncated)
        of_tensors = cast(Callable[..., Step], Step)
        return of_tensors(
            obs=obs,
            reward=reward,
            next_obs=next_obs,
            terminated=terminated,
            truncated=truncated | broken,
            group=self._group,
            episode_return=episode_return,
            episode_length=episode_length,
        )

    def _note(self, log: Any) -> None:
        """Keep what the simulator says of itself, ``extras["log"]``: numbers, or tensors of which the mean counts."""
        for key, value in log.items() if isinstance(log, Mapping) else ():
            if isinstance(value, Tensor | float | int):
                number = torch.as_tensor(value, dtype=torch.float32, device=self.device)
                self._log.setdefault(str(key).strip("/"), []).append(number.detach().nanmean())

    def log(self) -> dict[str, float]:
        """{name: mean over the steps that gave it} of what the simulator said of itself since the last call."""
        said, self._log = self._log, {}
        # What a broken world says is not finite, and the others' numbers count.
        means = torch.stack([torch.stack(numbers).nanmean() for numbers in said.values()]).tolist() if said else []
        return dict(zip(said, means, strict=True))

    def _seed(self, seed: int, first: int) -> int:
        """One number for the simulator, which has one generator for all of its worlds."""
        return seeds(seed, range(first, first + 1))[0] & 0x7FFFFFFF

    def _no_state(self) -> NoReturn:
        line = f"{self.name}: a simulator whose state cannot be had"
        say_once(f"{line}; the run can be resumed only with new episodes: exact_resume=false")
        raise NoState(line)

    def state(self) -> dict[str, Tensor]:
        self._no_state()

    def set_state(self, state: dict[str, Tensor]) -> Tensor:
        self._no_state()

    def render(self, index: int = 0) -> np.ndarray:
        render = getattr(self._alive("render"), "render", None)
        picture = self._call("render()", render) if render else None
        if not isinstance(picture, np.ndarray):
            raise EnvError(f"{self.name}: it gives no picture")
        return picture

    def close(self) -> None:
        sim, self._sim = self._sim, None
        if hasattr(sim, "close"):
            self._call("close()", sim.close)

    def _alive(self, what: str) -> Any:
        if self._sim is None:
            raise EnvError(f"{self.name}: {what}() after close()")
        return self._sim

    def _call(self, what: str, call: Callable, *args: Any, **kwargs: Any) -> Any:
        """What ``call`` gives; EnvError, with place and traceback, of what the simulator's code raises."""
        try:
            return call(*args, **kwargs)
        except EnvError:
            raise
        except RAISED as error:
            raise raised(f"{self.name}: {what}", error) from error
