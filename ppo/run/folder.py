"""Runs on the disk: where they are, what one is worth, and which configuration may go on with one. Without torch."""

import fcntl
import json
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ppo.config.foreign import current
from ppo.config.options import ConfigError, plain
from ppo.logging.jsonl import read

# What may differ between a run and what goes on with it: none of these changes a number of an update ...
FREE = ("total_steps", "workers", "logger", "eval", "checkpoint", "resume", "exact_resume", "on_nonfinite")
FREE += ("doctor", "plots", "trust", "env_timeout", "rank_timeout")
ROUNDING = ("threads", "compile", "device")  # ... and these only its rounding


class DiskError(RuntimeError):
    """The run folder cannot be written: full, read-only, or gone. One line, which says what is safe."""


def run_folders(below: Path) -> list[Path]:
    """Every run folder at or below a path, sorted. What a sweep put aside, in a hidden folder, is no run any more, and
    what a dashboard keeps inside of a run is none."""
    found = {file.parent for name in ("run.json", "metrics.jsonl") for file in below.rglob(name)}
    return sorted(folder for folder in found if not _hidden(folder.relative_to(below)))


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") or part == "wandb" for part in folder.parts)


def final(values: Sequence[float] | np.ndarray, window: int | None = None) -> float:
    """Mean of the last ``window`` points; by default the last tenth, at least one."""
    return float(np.mean(values[-(window or max(1, len(values) // 10)) :]))


def endpoint(folder: Path) -> float:
    """What the run in ``folder`` is worth: the final window of its deterministic evaluations, as a comparison reads it,
    and not its best one, which would reward luck. NaN where there was none."""
    values = [float(row["eval/return"]) for row in read(folder / "metrics.jsonl") if "eval/return" in row]
    return final(values) if values else float("nan")


@contextmanager
def hold(folder: Path) -> Generator[None, None, None]:
    """Keep other processes from running in ``folder``. The lock ends with its process, however that ends.

    Raises ConfigError where one does.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{folder}: another process is running there") from error
        yield
    finally:
        os.close(descriptor)


def about(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says; nothing where there is none or it is damaged."""
    try:
        return json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of the run in ``folder``, in today's words. Raises ConfigError where there is none."""
    try:
        return current(plain(cast(DictConfig, OmegaConf.load(folder / "config.yaml"))))
    except OSError as error:
        raise ConfigError(f"{folder}: no run there (config.yaml: {error.strerror})") from error


def result(folder: Path, config: dict[str, Any]) -> float | None:
    """What a finished run is worth that has nothing left to do under ``config``; None where there is work.

    Raises ConfigError where the folder holds a finished run that ``config`` cannot go on with.
    """
    if about(folder).get("status") != "finished":
        return None
    before = config_of(folder)
    check_same(folder, before, config)
    if before["total_steps"] < config["total_steps"]:
        return None
    return endpoint(folder)


def check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ConfigError, naming the keys, where ``now`` cannot go on with a run of ``before``."""
    before, now = current(before), current(json.loads(json.dumps(now)))
    differing = _differing(before, now)
    wrong = [key for key in differing if key.split(".")[0] not in FREE + ROUNDING]
    if wrong:
        what = ", ".join(f"{key}={_value(now, key)} (was {_value(before, key)})" for key in wrong)
        raise ConfigError(f"{folder}: holds a run of another configuration: {what}; choose another folder")
    if now["total_steps"] < before["total_steps"]:
        raise ConfigError(f"total_steps={now['total_steps']}: the run in {folder} is one of {before['total_steps']}")
    for key in (key for key in differing if key.split(".")[0] in ROUNDING):
        what = f"{key} was {_value(before, key)} and is {_value(now, key)}"
        print(f"{folder}: not to the bit what it would have been: {what}", file=sys.stderr, flush=True)


def _differing(before: Any, now: Any, name: str = "") -> list[str]:
    """The keys, with dots, in which two configurations differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [name]
    keys = sorted({*before, *now})
    return [k for key in keys for k in _differing(before.get(key), now.get(key), f"{name}.{key}" if name else key)]


def _value(config: dict[str, Any], key: str) -> Any:
    return OmegaConf.select(OmegaConf.create(config), key)
