"""A run's policy as one ONNX file: an observation as the environment gives it in, the action that it takes out; with
memory, that of the actor in and out as well.

``torch.onnx.export`` follows the network whatever it is made of; a graph written by hand would be a second version of
every network. Nothing but the file is needed to act: the normaliser's statistics and the action's bounds are inside.
"""

import copy
import hashlib
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from envs.base import ActionSpace
from ppo.config.extras import needs
from ppo.logging.files import write_atomically
from ppo.network.actor_critic import ActorCritic
from ppo.network.columns import Columns
from ppo.network.memory import Recurrent, unroll
from ppo.run import checkpoint
from ppo.run.episodes import SEED
from ppo.run.policy import Policy, forget, restored

_FORMATS = "proximal-policy-"
FORMAT = f"{_FORMATS}1"
TOLERANCE = 1e-5  # largest difference of an action that is rounding, as a share of the largest action, at least of 1
_CHECK = Path(__file__).parent / "onnx_check.py"


class ExportError(RuntimeError):
    """The policy cannot be exported, or what was written does not act as it does. One line."""


_TRANSFORMS = {  # envs.action's functions are numpy's; the bounds themselves are kept by Act
    "envs.action.clip": lambda action, low, high: action,
    "envs.action.tanh": lambda action, low, high: low + (high - low) * (0.5 * (torch.tanh(action) + 1.0)),
}


def _from_first(action: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The distribution counts discrete actions from 0."""
    return action + low


class Act(nn.Module):
    """``obs [N, O] -> action [N, A]``, each in the dtype of its space: normaliser, most likely action, transform.
    Discrete ones, ``[N]`` or ``[N, A]``, are counted from where the space begins. With memory: ``obs, memory [N, H] ->
    action, next_memory``."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, policy: Policy):
        super().__init__()
        transform, space = policy.meta["config"]["action"]["_target_"], policy.envs.action_space
        if transform not in _TRANSFORMS:
            raise ExportError(f"action={transform}: only action=clip and action=tanh can be exported")
        self.transform = _TRANSFORMS[transform] if isinstance(space, Box) else _from_first
        self.network, self.clip = _seen(policy), policy.normalise.clip
        tensors = {name: _of(policy, getattr(policy.normalise, name)) for name in ("mean", "std")}
        tensors |= dict(zip(("low", "high"), map(torch.from_numpy, bounds(space)), strict=True))
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.clone())

    def forward(self, obs: Tensor, memory: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        normalised = ((obs - self.mean) / self.std).clamp(-self.clip, self.clip).float()
        before = () if memory is None else (memory,)
        action = self.transform(self.network.policy(normalised, *before).mode(), self.low, self.high)
        action = action.maximum(self.low).minimum(self.high)
        return (
            action if memory is None else (action, unroll([cast(Recurrent, self.network.actor)], normalised, memory)[0])
        )


def memory_size(policy: Policy) -> int:
    """Numbers that the actor carries from step to step, at the front of the network's memory; 0: none."""
    return policy.network.actor.cell.size if isinstance(policy.network.actor, Recurrent) else 0


def columns(policy: Policy) -> list[int] | None:
    """The columns of an observation that the actor sees, which are all that the file takes; None: all there are."""
    first = policy.network.actor[0]
    return list(first.columns) if isinstance(first, Columns) else None


def _of(policy: Policy, rows: Tensor) -> Tensor:
    """Those columns of ``rows [..., O]``."""
    chosen = columns(policy)
    return rows if chosen is None or not rows.ndim else rows[..., chosen]


def _seen(policy: Policy) -> ActorCritic:
    """The network that is given these columns alone."""
    if columns(policy) is None:
        return policy.network
    network = copy.deepcopy(policy.network)
    network.actor = cast(nn.Sequential, network.actor[1:])
    return network


def bounds(space: ActionSpace) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest action ``[A]``; Discrete: ``[1]``."""
    if isinstance(space, Box):
        return space.low, space.high
    start, count = np.atleast_1d(space.start), space.n if isinstance(space, Discrete) else space.nvec
    return start, start + count - 1


def export(
    run: Path,
    out: Path,
    *,
    which: str = "latest",
    trust: Sequence[str] = (),
    observations: int = 1000,
    seed: int = SEED,
) -> dict:
    """Write ``out`` and beside it its certificate, ``out`` with the suffix ``.json``; returns the certificate.

    Both appear only once a process of its own, with onnxruntime and without PyTorch, has found the file to act as the
    policy does at ``observations`` recorded ones. Raises ExportError, CheckpointError, ConfigError, EnvError.
    """
    absent = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if absent:
        raise ExportError(needs(f"export ({', '.join(absent)})", "export"))
    certified = out.with_suffix(".json")
    if certified.exists() and not _is_certificate(certified):
        raise ExportError(f"{certified}: is there, and no certificate of an exported policy; name another file")
    path = checkpoint.find(run, which)
    with tempfile.TemporaryDirectory(prefix="exactkl-export-") as scratch:
        model, recorded = Path(scratch) / "policy.onnx", Path(scratch) / "recorded.npz"
        with restored(path, 8, trust) as policy:
            metadata = _metadata(policy)
            played = record(policy, observations, seed)
            _write(policy, metadata, model)
        if not metadata["memory"]:  # what came before an observation does not matter
            played = {name: x.reshape(-1, *x.shape[2:])[:observations] for name, x in played.items()}
        expected = played["action"]
        seen = played["obs"] if metadata["columns"] is None else played["obs"][..., metadata["columns"]]
        np.savez(recorded, obs=seen, first=played["first"], action=expected)
        found = _check(model, recorded)
        limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not found["max_difference"] <= limit:
            raise ExportError(f"{path}: the exported policy differs by {found['max_difference']:.3g} > {limit:.3g}")
        content = model.read_bytes()
    certificate = metadata | found | {"tolerance": limit, "checkpoint": str(path), "torch": torch.__version__}
    certificate |= {"file": out.name, "sha256": hashlib.sha256(content).hexdigest()}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    write_atomically(certified, json.dumps(certificate, indent=2) + "\n")
    return certificate


def _is_certificate(path: Path) -> bool:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and "sha256" in said and str(said.get("format")).startswith(_FORMATS)


@torch.no_grad()
def record(policy: Policy, count: int, seed: int) -> dict[str, np.ndarray]:
    """obs [T, N, O], first [T, N], action [T, N, A]: what the policy met in its N environments until there were ``count``
    observations, which of them began an episode, and what it did."""
    obs, memory = policy.envs.reset(seed), ()
    first, rows = np.ones(len(obs), bool), []
    while len(rows) * len(obs) < count:
        action, memory = policy(torch.tensor(obs), memory)
        rows.append((obs.copy(), first, action))
        step = policy.envs.step(action)
        obs, first = step.obs, step.terminated | step.truncated
        forget(memory, first)
    return dict(zip(("obs", "first", "action"), map(np.stack, zip(*rows, strict=True)), strict=True))


def _metadata(policy: Policy) -> dict[str, Any]:
    """What the file says of itself, in its metadata."""
    config = json.dumps(policy.meta["config"], sort_keys=True)
    low, high = ([x if np.isfinite(x) else None for x in side.tolist()] for side in bounds(policy.envs.action_space))
    return {
        "format": FORMAT,
        "env": policy.envs.name,
        "env_steps": policy.meta["progress"]["env_steps"],
        "config_hash": hashlib.sha256(config.encode()).hexdigest(),
        "columns": columns(policy),
        "memory": memory_size(policy),
        "action": policy.meta["config"]["action"]["_target_"],
        "action_low": low,
        "action_high": high,
    }


def _write(policy: Policy, metadata: dict[str, Any], path: Path) -> None:
    space = policy.envs.observation_space
    given = {"obs": _of(policy, torch.from_numpy(np.zeros((2, *space.shape), space.dtype)))}
    if size := memory_size(policy):
        given["memory"] = torch.zeros(2, size)
    batch = torch.export.Dim("N")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own news
        program = torch.onnx.export(
            Act(policy).eval(),
            tuple(given.values()),
            dynamo=True,
            verbose=False,
            input_names=list(given),
            output_names=["action", "next_memory"][: len(given)],
            dynamic_shapes=tuple({0: batch} for _ in given),
        )
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # where in the source it came from: paths of this machine
    program.model.metadata_props.update({k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()})
    program.save(path, external_data=False)


def _check(model: Path, recorded: Path) -> dict[str, Any]:
    """What ``onnx_check`` finds, in a process that has neither this package nor PyTorch in it."""
    command = [sys.executable, "-I", str(_CHECK), str(model), str(recorded)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise ExportError(f"the exported policy does not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return json.loads(done.stdout)
