"""Observations that a simulator gives in groups, ``{"actor": [N, D], "critic": [N, E]}``, as rows ``[N, D + E]``."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.base import EnvError


class Groups:
    """The groups of one simulator, in the order in which it first gave them; names of nested ones are joined by ``/``.

    ``columns``: which columns of a row each group is. ``roles``: the groups that actor and critic see where nobody says
    otherwise. Raises EnvError where ``obs``, the first ones, are no groups of ``rows`` rows on ``device``.
    """

    def __init__(self, obs: Any, rows: int, device: torch.device, name: str):
        self._rows, self._device, self._name = rows, device, name
        self._widths = {key: x.shape[-1] for key, x in self._read("get_observations()", obs)}
        self.columns: dict[str, range] = {}
        self.size = 0
        for key, width in self._widths.items():
            self.columns[key] = range(self.size, self.size + width)
            self.size += width
        self.roles = roles([key.partition("/")[0] for key in self.columns])

    def row(self, call: str, obs: Any) -> Tensor:
        """``obs`` as rows [N, O], in memory of their own; ``call``: what gave it. Asks the device for no number."""
        found = dict(self._read(call, obs))
        widths = {key: x.shape[-1] for key, x in found.items()}
        if widths != self._widths:
            raise EnvError(
                f"{self._name}: {call} gave groups of columns {_listed(widths)}; at first they were {_listed(self._widths)}"
            )
        return torch.cat([found[key] for key in self._widths], -1)

    def one(self, obs: Any) -> np.ndarray:
        """The row [O] of a single observation: of its groups, in whatever order they are given, or of what is a row already."""
        if not isinstance(obs, Mapping):
            if np.shape(obs) != (self.size,):
                raise EnvError(
                    f"{self._name}: an observation of shape {np.shape(obs)}, needed is [{self.size}] or its groups"
                )
            return np.asarray(obs)
        found = {key: np.asarray(x).ravel() for key, x in _flat("", obs)}
        widths = {key: x.size for key, x in found.items()}
        if widths != self._widths:
            raise EnvError(f"{self._name}: an observation of {_listed(widths)}, needed is {_listed(self._widths)}")
        return np.concatenate([found[key] for key in self._widths])

    def _read(self, call: str, obs: Any) -> Iterator[tuple[str, Tensor]]:
        if not isinstance(obs, Mapping) or not len(obs.keys()):
            raise EnvError(
                f"{self._name}: {call} gave {kind(obs)} as observations; needed is a dict or TensorDict of groups [N, D], such "
                'as {"policy": obs}'
            )
        for key, value in _flat("", obs):
            what = f"{self._name}: {call}: group {key}"
            check(what, value, self._device)
            if value.ndim != 2 or len(value) != self._rows:
                raise EnvError(f"{what} has shape {list(value.shape)}, must be [{self._rows}, D]")
            yield key, value.float()


def roles(names: list[str]) -> dict[str, list[str]]:
    """Whose group each is by its name, as rsl_rl, Isaac Lab and mjlab give them: the actor sees ``actor`` or ``policy``, the
    critic ``critic`` or else what the actor sees. {} where no name says it: both see all."""
    actor = next(([name] for name in ("actor", "policy") if name in names), None)
    if actor is None:
        return {}
    return {"actor": actor, "critic": ["critic"] if "critic" in names else actor}


def check(what: str, value: Any, device: torch.device) -> None:
    """EnvError where ``value`` is no tensor of ``device``; asks it for no number."""
    if not isinstance(value, Tensor):
        raise EnvError(f"{what} is {kind(value)}, must be a tensor on {device}")
    if not same(value.device, device):
        raise EnvError(f"{what} is on {value.device}, must be on {device} as the learner is (device=)")


def same(a: torch.device, b: torch.device) -> bool:
    """Whether they are one device: ``cuda`` is ``cuda:0`` for a process that never chose another."""
    return a.type == b.type and (a.index or 0) == (b.index or 0)


def kind(value: Any) -> str:
    """What it is, in a message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _flat(above: str, obs: Mapping) -> Iterator[tuple[str, Any]]:
    for key, value in obs.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(f"{name}/", value)
        else:
            yield name, value


def _listed(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {width}" for key, width in widths.items())
