"""Checkpoints: one safetensors file, written atomically, read without ever unpickling.

Tensors are named by their place in the (nested) NamedTuples; everything else that must survive is one JSON text in the
file's header, with a checksum of both.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

FORMAT = "proximal-1"


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, torn, corrupt or of another format. One line."""


def to_tensors(tree, prefix: str) -> dict[str, Tensor]:
    """{"prefix.field.field": tensor} of a nested NamedTuple."""
    if isinstance(tree, Tensor):
        return {prefix: tree.detach().cpu().contiguous()}
    return {k: v for name in tree._fields for k, v in to_tensors(getattr(tree, name), f"{prefix}.{name}").items()}


def from_tensors(template, tensors: dict[str, Tensor], prefix: str):
    """The inverse: a tree like ``template``, same shapes, types and devices. Raises CheckpointError where one differs."""
    if not isinstance(template, Tensor):
        return type(template)(*(from_tensors(getattr(template, n), tensors, f"{prefix}.{n}") for n in template._fields))
    if prefix not in tensors:
        raise CheckpointError(f"the checkpoint holds no {prefix}")
    found = tensors[prefix]
    if found.shape != template.shape or found.dtype != template.dtype:
        expected = f"{template.dtype} {list(template.shape)}"
        raise CheckpointError(
            f"{prefix} is {found.dtype} {list(found.shape)} in the checkpoint, {expected} was expected"
        )
    return found.to(template.device)


def save(path: Path, tensors: dict[str, Tensor], meta: dict) -> None:
    """Write atomically: after a crash at any moment, ``path`` holds the old checkpoint or the new one, whole."""
    text = json.dumps(meta)
    header = {"format": FORMAT, "checksum": _checksum(tensors, text), "meta": text}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(serialise(tensors, header))
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


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
    """The checkpoint that a person means by ``run``: the file itself, or a run folder's ``which``."""
    if run.is_dir():
        return run / "checkpoints" / f"{which}.safetensors"
    return run


def _checksum(tensors: dict[str, Tensor], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        flat = tensors[name].contiguous().reshape(-1)
        digest.update(f"{name} {flat.dtype} {list(tensors[name].shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
