"""Resuming a run exactly where it was: what it is between two updates, as plain data, and back.

The environments go with it as the beginnings of their running episodes and the actions since (see envs.shard), in one
JSON text: PyBullet's own saved worlds are not exact in another process. Those on a device go as their tensors.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.base import NoState, VectorEnv
from ppo.buffer.data import tree_map
from ppo.config.options import ConfigError
from ppo.logging.jsonl import read
from ppo.run import checkpoint
from ppo.run.checkpoint import CheckpointError
from ppo.run.folder import check_same, somebody_elses
from ppo.run.state import Kept, State, in_todays_names


class Saved(NamedTuple):
    """A checkpoint that a run can resume from."""

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def updates(self) -> int:
        return self.meta["progress"]["updates"]


def load(path: Path) -> Saved:
    """The checkpoint at ``path``. Raises CheckpointError."""
    return Saved(path, *checkpoint.load(path))


Episodes = list[dict] | dict[str, Tensor]
_REFERENCE = "reference."
_WORLD = "envs."  # before the names of the tensors of a world on a device


def episodes(envs: VectorEnv) -> Episodes | None:
    """The running episodes, as ``envs.state()`` has them; None where this world cannot tell. Raises EnvError."""
    try:
        return envs.state()
    except NoState:
        return None  # such a run can be evaluated, and continued with new episodes


def freeze(
    state: State, generator: torch.Generator, worlds: Sequence[Episodes | None]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, plain numbers): all that must be known to continue bit for bit. ``worlds``: every rank's ``episodes``."""
    leaves = checkpoint.to_leaves(state)
    tensors = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Tensor)}
    numbers = {name: leaf for name, leaf in leaves.items() if name not in tensors}
    tensors["generator"] = generator.get_state()
    if isinstance(worlds[0], dict):
        tensors |= {f"{_WORLD}{name}": x.cpu().contiguous() for name, x in worlds[0].items()}
    elif None not in worlds:
        text = json.dumps([world for part in worlds for world in part or ()]).encode()
        tensors["envs"] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    return tensors, numbers


def thaw(saved: Saved, template: State, flat: Tensor, generator: torch.Generator) -> State:
    """The saved state; puts the network's parameters ``flat [P]``, its constants, which are those of ``template``, and the
    generator where they were."""
    # An earlier version kept no largest reward: it may have been any, and what is not finite is refused.
    unknown: dict[str, Any] = {
        "reward_scale.largest": torch.tensor(torch.finfo(torch.float64).max, dtype=torch.float64),
        "reference_config": template.reference_config,
    }
    if template.reference:  # nor the reference: it is what was read again
        unknown |= {f"{_REFERENCE}{name}": x for name, x in template.reference.items()}
    state = checkpoint.from_leaves(template, unknown | saved.tensors | in_todays_names(saved.meta["progress"]))
    flat.copy_(state.learner.params)
    tree_map(Tensor.copy_, template.constants, state.constants)
    generator.set_state(saved.tensors["generator"])
    return state


def put_back(saved: Saved, envs: VectorEnv, own: slice) -> Any:
    """Put the sub-environments ``own`` where they were; the observations to act on next ``[N, O]``.

    Raises EnvError where they do not come back exactly, NoState where they were not saved.
    """
    there = {name.removeprefix(_WORLD): x for name, x in saved.tensors.items() if name.startswith(_WORLD)}
    if envs.device is not None and there:
        return envs.set_state(there)
    if "envs" not in saved.tensors:
        raise NoState(f"{envs.name}: its episodes cannot be saved")
    return envs.set_state(json.loads(saved.tensors["envs"].numpy().tobytes())[own])


def begun(folder: Path) -> bool:
    """Whether there is a checkpoint in the folder of a run: then it goes on from there."""
    latest = checkpoint.find(folder)
    return latest.exists() or checkpoint.before(latest).exists()


def find(folder: Path, config: dict[str, Any]) -> Saved | None:
    """What the run in ``folder`` resumes from: its latest checkpoint, or the one before it where that is damaged or its
    row of metrics is, which is reported. None where there is no run. Nothing is changed.

    Raises ConfigError where ``config`` is another run's, CheckpointError where no checkpoint is whole.
    """
    rows = _rows(folder / "metrics.jsonl")
    latest = checkpoint.find(folder)
    if not begun(folder):
        if rows:
            raise ConfigError(f"{folder}: already holds a run, but no checkpoint; choose another folder")
        if other := somebody_elses(folder):
            raise ConfigError(f"{other}: is no file of a run, and would be overwritten; choose another folder")
        return None
    saved = _newest(latest, {row.get("update") for row in rows})
    check_same(folder, saved.meta["config"], config)
    return saved


def reference(folder: Path) -> Kept:
    """The reference policy of the run in ``folder``, which all of its checkpoints hold; those of earlier versions hold
    nothing of it, or no configuration."""
    latest = checkpoint.find(folder)
    for path in (latest, checkpoint.before(latest)):
        with suppress(CheckpointError):
            tensors, meta = checkpoint.load(path)
            own = {name.removeprefix(_REFERENCE): x for name, x in tensors.items() if name.startswith(_REFERENCE)}
            return Kept(own, meta["progress"].get("reference_config"))
    return Kept()


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        return read(path) if path.is_file() else []
    except ValueError as error:
        raise CheckpointError(f"{error}; choose another folder, or mend the line") from error


def _newest(latest: Path, updates: set) -> Saved:
    """The latest checkpoint of one of the ``updates`` that there are rows of, or the one before."""
    try:
        return _recorded(latest, updates)
    except CheckpointError as error:
        try:
            saved = _recorded(checkpoint.before(latest), updates)
        except CheckpointError:
            raise error from None
        print(f"{error}; resuming from the one before, of update {saved.updates}", file=sys.stderr, flush=True)
        return saved


def _recorded(path: Path, updates: set) -> Saved:
    saved = load(path)
    if saved.updates and saved.updates not in updates:
        raise CheckpointError(f"{path}: metrics.jsonl lacks update {saved.updates}, which it was made after")
    return saved
