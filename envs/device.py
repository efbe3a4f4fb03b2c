"""Worlds that live on a device: how they are made, what they share, and how one is seen from the host."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from envs.arena import not_finite
from envs.base import Envs, NotFinite, Step, VectorEnv


def on_device(option: Callable) -> bool:
    """Whether the worlds of an ``env=`` option live on a device: it then takes that as its third argument."""
    return "device" in inspect.signature(option).parameters


def make(option: Callable, num_envs: Envs, workers: int = 0, device: torch.device | str = "cpu") -> VectorEnv:
    """``num_envs`` worlds of an ``env=`` option, on ``device`` where they live on one. Raises EnvError."""
    kind = torch.get_default_dtype()
    try:
        return option(num_envs, workers, torch.device(device)) if on_device(option) else option(num_envs, workers)
    finally:
        torch.set_default_dtype(kind)  # code of an environment may have set another one, which networks would take


class Tally(NamedTuple):
    """The running return and length of every sub-environment's episode."""

    total: Tensor  # [N] float64
    length: Tensor  # [N] int64

    @staticmethod
    def empty(num_envs: int, device: torch.device | str) -> "Tally":
        """At the start of an episode everywhere."""
        return Tally(
            torch.zeros(num_envs, dtype=torch.float64, device=device),
            torch.zeros(num_envs, dtype=torch.int64, device=device),
        )

    def going(self, reward: Float[Tensor, " N"]) -> "Tally":
        """After one more step in which no episode ended."""
        return Tally(self.total + reward, self.length + 1)

    def add(self, reward: Float[Tensor, " N"], ended: Bool[Tensor, " N"]) -> tuple["Tally", Tensor, Tensor]:
        """After one more step: (tally, ``Step.episode_return``, ``Step.episode_length``)."""
        total, length = self.going(reward)
        after = Tally(torch.where(ended, 0.0, total), torch.where(ended, 0, length))
        return after, torch.where(ended, total, math.nan), torch.where(ended, length, 0)


def marked(reward: Float[Tensor, " N"], next_obs: Float[Tensor, "N O"]) -> tuple[Tensor, Bool[Tensor, " N"]]:
    """(reward, broken): ``broken`` is the sub-environment whose step has a number that is not finite. Its reward becomes NaN,
    so that neither the sample nor the return of its episode passes for a whole one."""
    fine = (next_obs.abs() < math.inf).all(-1) & (reward.abs() < math.inf)  # half the operations of isfinite
    return torch.where(fine, reward, math.nan), ~fine


def constant(like: Tensor, values: Any) -> Tensor:
    """``values``, a number or nested sequence of them, of the dtype of ``like`` and on its device. On a GPU each is written
    there: a copy from the host would wait for all that the GPU still has to do, and could not be recorded."""
    if like.device.type == "cpu":
        return like.new_tensor(values)
    numbers = np.asarray(values, dtype=np.float64)
    return torch.stack([like.new_full((), float(x)) for x in numbers.flat]).reshape(numbers.shape)


def hosted(envs: VectorEnv) -> VectorEnv:
    """``envs`` as a world of the host, arrays in and arrays out: for all that looks at every step, such as an evaluation. A
    world of the host is returned as it is."""
    return envs if envs.device is None else cast(VectorEnv, Hosted(envs))


class Hosted:
    """A world on a device, read back in every call. What it shows is not to be modified."""

    device = None

    def __init__(self, envs: VectorEnv):
        self._envs = cast(Any, envs)

    def __getattr__(self, name: str) -> Any:
        """All that has nothing to do with where it lives: names, spaces, ``render()``, ``close()`` ..."""
        return getattr(self._envs, name)

    def reset(self, seed: int, *, first: int = 0) -> np.ndarray:
        return self._envs.reset(seed, first=first).cpu().numpy()

    def step(self, action: np.ndarray) -> Step:
        """Raises NotFinite."""
        step = self._envs.step(torch.tensor(action, device=self._envs.device))
        read = Step(*(x.cpu().numpy() for x in step._replace(reward=step.reward.double())))
        for what, rows in (("observation", read.next_obs), ("reward", read.reward)):
            if (index := not_finite(rows)) is not None:
                raise NotFinite(
                    f"{self._envs.name}: the {what} of sub-environment {index} is not finite: {rows[index]}"
                )
        return read

    def set_state(self, state: Any) -> np.ndarray:
        return self._envs.set_state(state).cpu().numpy()
