"""Checkpoints: one safetensors file, written atomically, read without ever unpickling.

Tensors are named by their place in the (nested) NamedTuples; everything else that must survive is one JSON text in the
file's header, with a checksum of both.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

FORMAT = "proximal-1"


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, torn, corrupt or of another format. One line."""


def to_leaves(tree, name: str = "") -> dict[str, Any]:
    """{"name.field.field": leaf} of nested NamedTuples and mappings of tensors: tensors, on the CPU, and what JSON can hold."""
    if isinstance(tree, Tensor):
        return {name: tree.detach().cpu().contiguous()}
    if isinstance(tree, tuple) and not tree:  # an optional part that is not there
        return {}
    if _of_tensors(tree):
        return {_below(name, key): leaf.detach().cpu().contiguous() for key, leaf in tree.items()}
    if not hasattr(tree, "_fields"):
        return {name: tree}
    return {k: v for field in tree._fields for k, v in to_leaves(getattr(tree, field), _below(name, field)).items()}


def from_leaves(template, leaves: Mapping[str, Any], name: str = ""):
    """The inverse: a tree like ``template``; tensors of the same shapes and types, on the same devices.

    Raises CheckpointError where a leaf is missing or differs.
    """
    if hasattr(template, "_fields"):
        return type(template)(*(from_leaves(getattr(template, f), leaves, _below(name, f)) for f in template._fields))
    if isinstance(template, tuple):
        return template
    if _of_tensors(template):
        return {key: from_leaves(x, leaves, _below(name, key)) for key, x in template.items()}
    if name not in leaves:
        raise CheckpointError(f"the checkpoint holds no {name}")
    found = leaves[name]
    if not isinstance(template, Tensor):
        return found
    if found.shape != template.shape or found.dtype != template.dtype:
        expected = f"{template.dtype} {list(template.shape)}"
        raise CheckpointError(f"{name} is {found.dtype} {list(found.shape)} in the checkpoint, {expected} was expected")
    return found.to(template.device)


def _of_tensors(tree: Any) -> bool:
    return isinstance(tree, dict) and bool(tree) and all(isinstance(x, Tensor) for x in tree.values())


def _below(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field


def save(path: Path, tensors: dict[str, Tensor], meta: dict, *, keep: Path | None = None) -> None:
    """Write atomically: after a crash at any moment, ``path`` holds the old checkpoint or the new one, whole.

    ``keep``: where the old one stays.
    """
    text = json.dumps(meta)
    header = {"format": FORMAT, "checksum": _checksum(tensors, text), "meta": text}
    path.parent.mkdir(exist_ok=True)  # not its parents: a run folder that was deleted is not to come back in part
    with path.with_name(f".{path.name}.{os.getpid()}.tmp").open("wb") as file:
        try:
            file.write(serialise(tensors, header))
            file.flush()
            os.fsync(file.fileno())
            if keep is None or not path.exists():
                os.replace(file.name, path)
            else:  # never one file under both names: what damages the latest must not reach the one before
                old = _copy(path)
                os.replace(file.name, path)
                os.replace(old, keep)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(file.name)
            raise


def _copy(path: Path) -> Path:
    """A second name for the same file, so that it costs nothing; a real copy where the file system knows no links."""
    copy = path.with_name(f".{path.name}.copy")
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
    return copy


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors, meta). Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({str(error).splitlines()[0]})") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this program ({FORMAT} was expected)")
    if header.get("checksum") != _checksum(tensors, header.get("meta", "")):
        raise CheckpointError(f"{path}: corrupt, its checksum does not match its content")
    try:
        meta = json.loads(header["meta"])
    except (KeyError, ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: what is written beside its tensors is no JSON object")
    return tensors, meta


def find(run: Path, which: str = "latest") -> Path:
    """The checkpoint that a person means by ``run``: the file itself, or a run folder's ``which``. Raises CheckpointError where
    both are given."""
    if run.is_dir():
        return run / "checkpoints" / f"{which}.safetensors"
    if which != "latest" and run.is_file():
        raise CheckpointError(
            f"{run}: is a checkpoint itself, so that there is no {which} to choose; give its run folder"
        )
    return run


def before(latest: Path) -> Path:
    """Where the checkpoint before the latest is."""
    return latest.with_name(f"previous{latest.suffix}")


def remove_torn(folder: Path) -> None:
    """Remove what a killed process had not finished writing."""
    for path in folder.glob(".*.safetensors.*"):
        path.unlink(missing_ok=True)


def _checksum(tensors: dict[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        flat = tensors[name].contiguous().reshape(-1)
        digest.update(f"{name} {flat.dtype} {list(tensors[name].shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
