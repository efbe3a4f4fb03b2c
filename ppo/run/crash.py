"""What is kept when a number is not finite: a bundle from which the same number comes again, at the same place.

A bundle is the checkpoint from before the iteration (network, optimiser, statistics, random generators, episodes,
configuration) with the batch that was learned from, versions, and the place. It is read as a checkpoint is, and
``scripts/replay.py`` does its iteration again.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.run import checkpoint
from ppo.update.loop import Halt
from ppo.update.optim import Learner

_MOST = 3  # bundles of a run that goes on


class NonFinite(RuntimeError):
    """A number of the update was not finite, and the run was not to go on. One line."""


def place(halt: Halt | None, metrics: Mapping[str, Any], batch: Batch) -> dict[str, Any] | None:
    """Where numbers of an update were not finite; None where all were.

    ``step``: the numbers of the refused step, or of the policy that the update ended with. ``batch``: what of the batch
    was not finite, with the first sample and its value.
    """
    if halt and halt.reason == "nonfinite":
        where = {"epoch": halt.epoch, "minibatch": halt.minibatch, "step": metrics["stop/nonfinite"]}
    elif not math.isfinite(metrics["kl/final"]):
        where = {"epoch": None, "minibatch": None, "step": f"kl/final={metrics['kl/final']}"}
    else:
        return None
    return where | {"batch": not_finite(checkpoint.to_leaves(batch))}


def settled(policy: str, before: Learner, after: Learner, halt: Halt | None) -> Learner:
    """The learner that a run goes on with after an incident, as ``on_nonfinite`` says; ``skip`` keeps the steps before
    the one that was refused."""
    return after if policy == "skip" and halt else before


def not_finite(leaves: Mapping[str, Any]) -> dict[str, list]:
    """{name: [index of the first number that is not finite, that number as text]} of the tensors among ``leaves``."""
    found = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and not torch.isfinite(leaf).all():
            index = torch.nonzero(~torch.isfinite(leaf.reshape(-1)))[0].item()
            found[name] = [index, str(leaf.reshape(-1)[index].item())]
    return found


def write(folder: Path, update: int, where: dict[str, Any], batch: Batch | None, about: dict) -> Path | None:
    """The bundle of an incident in ``update``, or None where the run has enough of them already."""
    path = folder / "crash" / f"update_{update:07d}.safetensors"
    if len(list(path.parent.glob("*.safetensors"))) >= _MOST and not path.exists():
        return None
    tensors, meta = checkpoint.load(checkpoint.find(folder))
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("batch.")}  # of a replay
    if batch is not None:
        tensors |= checkpoint.to_leaves(batch, "batch")
    path.parent.mkdir(exist_ok=True)
    checkpoint.save(path, tensors, meta | {"crash": where, "about": about})
    return path


def describe(where: dict[str, Any]) -> str:
    """The place in words."""
    if "rollout" in where:
        return where["rollout"]
    if "statistics" in where:
        return "not finite after the update: " + ", ".join(f"{n}[{i}]={x}" for n, (i, x) in where["statistics"].items())
    spoilt = "".join(f", {name}[{index}]={value}" for name, (index, value) in where["batch"].items())
    if where["epoch"] is None:
        return f"not finite after the update: {where['step']}{spoilt}"
    return f"not finite at epoch {where['epoch']}, minibatch {where['minibatch']}: {where['step']}{spoilt}"
