"""How the rows of a rollout are written: what differs between a world of the host and one on a device."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from envs.base import NotFinite, Step
from ppo.buffer.data import Transition, leaves, tree_map
from ppo.network.memory import Memory

Episodes = list[tuple[float, int]]  # (return, length) of each that ended


class Rows(Protocol):
    """The rows of a rollout, one after the other: ``before`` acting and ``after`` the world's step; at last ``done``."""

    def before(self, obs: Any, memory: Any) -> Any:
        """What is acted on: ``obs``, for every column of the rollout."""
        ...

    def after(self, action: Any, parameters: tuple, step: Step, memory: Any) -> Any:
        """``memory`` to act with next: 0 where an episode ended."""
        ...

    def done(self, memory: Any) -> tuple[Memory, Episodes]:
        """The rollout is full. The memory as a tensor, and the episodes that ended in it."""
        ...


def rows_of(rollout: Transition, own: slice, name: str, device: torch.device | None) -> Rows:
    """Those of ``rollout [T, N, ...]``, of which a world called ``name`` on this ``device`` fills the columns ``own``."""
    return Arrays(rollout, own) if device is None else Tensors(rollout, name)


class Arrays:
    """Written into the rollout's own memory, as arrays: that costs no tensor operation."""

    def __init__(self, rollout: Transition, own: slice):
        self._into, self._own, self._t = tree_map(Tensor.numpy, rollout), own, -1
        shape = self._into.reward[:, own].shape
        self._returns, self._lengths = np.empty(shape), np.empty(shape, np.int64)

    def before(self, obs: np.ndarray, memory: Any) -> np.ndarray:
        self._t += 1
        into, t = self._into, self._t
        into.obs[t, self._own] = obs
        if len(into.memory):
            into.memory[t] = memory
        # Every column, also those that are not ours: how a product rounds depends on how many rows it has.
        return into.obs[t]

    def after(self, action: np.ndarray, parameters: tuple, step: Step, memory: Any) -> Any:
        into, t, own = self._into, self._t, self._own
        into.action[t] = action
        for kept, x in zip(into.policy, parameters, strict=True):
            kept[t] = x
        into.reward[t, own], into.next_obs[t, own], into.group[t, own] = step.reward, step.next_obs, step.group
        into.terminated[t, own] = step.terminated
        into.done[t, own] = ended = step.terminated | step.truncated
        self._returns[t], self._lengths[t] = step.episode_return, step.episode_length
        if len(memory):
            memory[own][ended] = 0.0
        return memory

    def done(self, memory: Any) -> tuple[Memory, Episodes]:
        ended = self._into.done[:, self._own]
        episodes = zip(self._returns[ended].tolist(), self._lengths[ended].tolist(), strict=True)
        return torch.from_numpy(memory) if len(memory) else (), list(episodes)


class Tensors:
    """Kept as they come and stacked at the end: a row costs no operation, and nothing waits for the device before that."""

    def __init__(self, rollout: Transition, name: str):
        self._rollout, self._name, self._masks = rollout, name, isinstance(rollout.mask, Tensor)
        self._rows: list[list[Tensor]] = []
        self._told: list[tuple[Tensor, Tensor]] = []

    def before(self, obs: Tensor, memory: Any) -> Tensor:
        self._obs, self._memory = obs, memory
        return torch.nan_to_num(obs, 0.0, 0.0, 0.0) if self._masks else obs

    def after(self, action: Tensor, parameters: tuple, step: Step, memory: Any) -> Any:
        seen: Any = step
        ended = seen.terminated | seen.truncated
        row = Transition(
            obs=self._obs,
            action=action,
            policy=type(self._rollout.policy)(*parameters),
            reward=seen.reward,
            next_obs=seen.next_obs,
            terminated=seen.terminated,
            done=ended,
            group=seen.group,
            memory=self._memory,
        )
        self._rows.append(leaves(row))
        self._told.append((seen.episode_return, seen.episode_length))
        return torch.where(ended[:, None], 0.0, memory) if len(memory) else memory

    def done(self, memory: Any) -> tuple[Memory, Episodes]:
        for into, *rows in zip(leaves(self._rollout._replace(mask=())), *self._rows, strict=True):
            torch.stack(rows, out=into)
        if isinstance(self._rollout.mask, Tensor):
            self._silence(self._rollout.mask)
        return memory, self._read()

    def _silence(self, mask: Tensor) -> None:
        """Mask the samples that the world spoilt, and put 0 for what is not finite: a weight of 0 does not silence a NaN."""
        given = (self._rollout.obs, self._rollout.next_obs, self._rollout.reward[..., None])
        torch.all(torch.stack([torch.isfinite(x).all(-1) for x in given]), 0, out=mask)
        for x in given:
            x.nan_to_num_(0.0, 0.0, 0.0)

    def _read(self) -> Episodes:
        """The first and only look at what happened. Raises NotFinite where the world gave, or was given, a number that is
        not finite; of a world that masks, where it gave no other or was given one."""
        returns, lengths = (torch.stack(told) for told in zip(*self._told, strict=True))
        self._check()
        if isinstance(self._rollout.mask, Tensor) and not self._rollout.mask.any():
            raise NotFinite(f"{self._name}: every sample of the rollout has a number that is not finite")
        whole = ~returns.isnan()
        return list(zip(returns[whole].tolist(), lengths[whole].tolist(), strict=True))

    def _check(self) -> None:
        looked = {name: getattr(self._rollout, name) for name in ("obs", "action", "next_obs", "reward")}
        # The cheap question first: whatever is not finite makes a sum so. (So may very large values.)
        if torch.isfinite(sum(x.sum().float() for x in looked.values())):
            return
        spoilt = {what: (~torch.isfinite(x)).view(*x.shape[:2], -1).any(-1).nonzero() for what, x in looked.items()}
        firsts = [(*where[0].tolist(), what) for what, where in spoilt.items() if len(where)]
        if firsts:  # of the first step the first in the order of a step: what follows is spoilt by it
            t, index, what = min(firsts, key=lambda first: first[0])
            raise NotFinite(
                f"{self._name}: the {what} of sub-environment {index} is not finite in step {t} of the rollout: "
                f"{looked[what][t, index].tolist()}"
            )
