"""Going on exactly where a run was: what it is between two updates, as plain data, and back.

The environments go with it as the beginnings of their running episodes and the actions since (see envs.shard), in one
JSON text: PyBullet's own saved worlds are not exact in another process.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from envs.base import EnvError, NoState, WorkerLost
from ppo.config.options import ConfigError, plain
from ppo.logging.jsonl import read
from ppo.run import checkpoint, ranks
from ppo.run.assemble import Parts
from ppo.run.checkpoint import CheckpointError
from ppo.run.folder import check_same
from ppo.run.state import State, current


class Saved(NamedTuple):
    """A checkpoint that a run can go on from."""

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def updates(self) -> int:
        return self.meta["progress"]["updates"]


def freeze(state: State, parts: Parts) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, plain numbers): all that must be known to go on bit for bit."""
    leaves = checkpoint.to_leaves(state)
    tensors = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, Tensor)}
    tensors["generator"] = parts.generator.get_state()
    try:
        states = ranks.gather(ranks.agreed(parts.envs.state))
        worlds = json.dumps([world for part in states for world in part]).encode()
        tensors["envs"] = torch.from_numpy(np.frombuffer(worlds, np.uint8).copy())
    except NoState:
        pass  # such a run can be evaluated, and continued with new episodes
    return tensors, {name: leaf for name, leaf in leaves.items() if name not in tensors}


def thaw(cfg: DictConfig, saved: Saved, template: State, parts: Parts) -> tuple[State, np.ndarray]:
    """Put network, generator and environments where they were; the state, and the observations to act on next.

    Raises ConfigError where the environments do not come back exactly and ``cfg.exact_resume`` asks for it.
    """
    state = checkpoint.from_leaves(template, saved.tensors | current(saved.meta["progress"]))
    parts.flat.copy_(state.learner.params)
    parts.generator.set_state(saved.tensors["generator"])
    try:
        if "envs" not in saved.tensors:
            raise NoState(f"{parts.envs.name}: its episodes cannot be saved")
        worlds = json.loads(saved.tensors["envs"].numpy().tobytes())
        return state, ranks.agreed(parts.envs.set_state, worlds[parts.own])
    except WorkerLost:
        raise
    except EnvError as error:
        if cfg.exact_resume:
            raise ConfigError(f"cannot go on exactly: {error}; exact_resume=false goes on with new episodes") from error
        return state, parts.envs.reset(cfg.seed + state.env_steps)


def find(folder: Path, cfg: DictConfig) -> Saved | None:
    """What the run in ``folder`` goes on from: its latest checkpoint, or the one before it where that is damaged,
    which is said aloud. None where there is no run. Nothing is changed.

    Raises ConfigError where ``cfg`` is another run's, CheckpointError where no checkpoint is whole.
    """
    rows = read(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    latest = checkpoint.find(folder)
    if not latest.exists() and not checkpoint.before(latest).exists():
        if rows:
            raise ConfigError(f"{folder}: already holds a run, but no checkpoint; choose another folder")
        return None
    saved = _newest(latest)
    check_same(folder, saved.meta["config"], plain(cfg))
    if saved.updates and saved.updates not in [row.get("update") for row in rows]:
        raise CheckpointError(
            f"{folder}: metrics.jsonl lacks update {saved.updates}, which the checkpoint was made after"
        )
    return saved


def _newest(latest: Path) -> Saved:
    try:
        return Saved(latest, *checkpoint.load(latest))
    except CheckpointError as error:
        before = checkpoint.before(latest)
        try:
            saved = Saved(before, *checkpoint.load(before))
        except CheckpointError:
            raise error from None
        print(f"{error}; going on from the one before, of update {saved.updates}", file=sys.stderr, flush=True)
        return saved
