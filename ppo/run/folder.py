"""Runs on the disk: where they are, what one is worth, and which configuration may go on with one. Without torch."""

import itertools
import json
import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ppo.config.foreign import current, no_interpolation
from ppo.config.options import ConfigError
from ppo.logging.jsonl import read
from ppo.run.artifact import is_one
from ppo.run.words import EXISTING, word

# Of the configuration, what changes no number of a run.
BESIDE = ("workers", "logger", "checkpoint", "resume", "exact_resume", "doctor", "plots", "trust")
BESIDE += ("env_timeout", "rank_timeout")
# What may differ between a run and what goes on with it: none of these changes a number of an update ...
FREE = (*BESIDE, "total_steps", "eval", "on_nonfinite")
ROUNDING = ("threads", "compile", "device")  # ... and these only its rounding
_BEGAN = time.time()  # before any folder of a run of this process


class DiskError(RuntimeError):
    """The run folder cannot be written: full, read-only, or gone. One line, which says what is safe."""


def import_from_here() -> None:
    """Let modules of the directory that the process was started in be imported, as ``python -m`` does; whatever became of
    the working directory since."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)


def run_folders(below: Path) -> list[Path]:
    """Every run folder at or below a path, sorted. What a sweep put aside, in ``.attempts``, is no run any more, and what
    a dashboard keeps inside of a run, in its ``wandb``, is none; no other name hides a run."""
    found = {file.parent for name in ("run.json", "metrics.jsonl") for file in below.rglob(name)}
    return sorted(folder for folder in found if not _hidden(folder, below, found))


def _hidden(folder: Path, below: Path, runs: set[Path]) -> bool:
    inside = [folder, *folder.parents][: len(folder.relative_to(below).parts)]
    return any(part.name == ".attempts" or (part.name == "wandb" and part.parent in runs) for part in inside)


def final(values: Sequence[float] | np.ndarray, window: int | None = None) -> float:
    """Mean of the last ``window`` points; by default the last tenth, at least one."""
    return float(np.mean(values[-(window or max(1, len(values) // 10)) :]))


def endpoint(folder: Path) -> float:
    """What the run in ``folder`` is worth: the final window of its deterministic evaluations, as a comparison reads it,
    and not its best one, which would reward luck. Where there was none, that of the episodes in training, whose actions are
    sampled; NaN where none ended."""
    rows = list(read(folder / "metrics.jsonl"))
    curves = ([float(row[name]) for row in rows if name in row] for name in ("eval/return", "train/return"))
    return next((final(values) for values in curves if values), float("nan"))


@contextmanager
def hold(folder: Path) -> Generator[None, None, None]:
    """Keep other processes from running in ``folder``, a sweep that it is a cell of among them. The lock ends with its
    process, however that ends.

    Raises ConfigError where one does.
    """
    import fcntl  # here, since a system without it can still read runs and compare them

    with ExitStack() as open_files:
        descriptor = os.open(folder, os.O_RDONLY)
        open_files.callback(os.close, descriptor)
        held: list[Any] = [descriptor]
        if (of_sweep := lock_of_cell(folder)).is_file():
            held.append(open_files.enter_context(of_sweep.open("a+")))
        try:
            for file in held:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{folder}: another process is running there") from error
        yield


def lock_of_cell(folder: Path) -> Path:
    """The file by which a sweep locks a cell's folder. Beside the folder: on one that is shared by machines (NFS) only a file
    that is open for writing locks."""
    return folder.parent / ".locks" / folder.name


def fresh(folder: Path) -> Path:
    """Make ``folder``, or where it exists already the first of ``folder-2``, ``folder-3`` ... that does not. Of several
    processes that ask for the same one, each gets its own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        made = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        with suppress(FileExistsError):
            made.mkdir()
            return made
    raise AssertionError  # unreachable


def remove_if_empty(folder: Path) -> None:
    """A refused run leaves nothing: its folder was made, and perhaps that of the day, before it was refused. Not a folder that
    was there before this process, nor one that a person is in."""
    here = Path(os.getcwd())
    for path in (folder, folder.parent):
        try:
            if path.stat().st_mtime < _BEGAN or here.is_relative_to(path.absolute()):
                return
            path.rmdir()
        except OSError:
            return


def somebody_elses(folder: Path) -> Path | None:
    """What stands in ``folder`` under a name of ours and was written by no run."""
    config, about = folder / "config.yaml", folder / "run.json"
    if about.exists() and "status" not in run_json(folder):
        return about
    try:
        ours = not config.exists() or "total_steps" in (OmegaConf.load(config) or {})
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return config
    return None if ours else config


def run_json(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says; nothing where there is none or it is damaged."""
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of the run in ``folder``, in today's words. Raises ConfigError where there is none."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
    except OSError as error:
        raise ConfigError(f"{folder}: no run there (config.yaml: {error.strerror})") from error
    except (ValueError, YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise ConfigError(f"{folder}: config.yaml is damaged ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{folder}: config.yaml is damaged (it holds no configuration)")
    no_interpolation(config, folder / "config.yaml")
    return current(cast(dict[str, Any], config))


def result(folder: Path, config: dict[str, Any]) -> float | None:
    """What a finished run is worth that has nothing left to do under ``config``; None where there is work.

    Raises ConfigError where the folder holds a finished run that ``config`` cannot go on with.
    """
    if run_json(folder).get("status") != "finished":
        return None
    before = config_of(folder)
    check_same(folder, before, config)
    if before["total_steps"] < config["total_steps"]:
        return None
    return endpoint(folder)


def check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ConfigError, naming the keys, where ``now`` cannot go on with a run of ``before``."""
    before, now = (_absolute_paths(current(json.loads(json.dumps(config)))) for config in (before, now))
    differing = _differing(before, now)
    wrong = [key for key in differing if key.split(".")[0] not in FREE + ROUNDING]
    if wrong:
        what = ", ".join(f"{key}={_value(now, key)} (was {_value(before, key)})" for key in wrong)
        raise ConfigError(
            f"{folder}: holds a run of another configuration: {what}; choose another folder"
            f" (there, {word('init', folder)} starts from this run's policy, critic and statistics)"
        )
    if now["total_steps"] < before["total_steps"]:
        raise ConfigError(f"total_steps={now['total_steps']}: the run in {folder} is one of {before['total_steps']}")
    for key in (key for key in differing if key.split(".")[0] in ROUNDING):
        if _value(now, key) == "auto":  # what comes of it is known, and told, when the run starts
            continue
        what = f"{key} was {_value(before, key)} and is {_value(now, key)}"
        print(f"{folder}: not to the bit what it would have been: {what}", file=sys.stderr, flush=True)


def _absolute_paths(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the paths in it as seen from here: earlier versions wrote them as they were typed."""
    for key in EXISTING:
        *groups, name = key.split(".")
        node = config
        for group in groups:
            node = node.get(group) or {}
        if isinstance(node, dict) and isinstance(node.get(name), str) and node[name] and not is_one(node[name]):
            node[name] = os.path.abspath(node[name])
    return config


def _differing(before: Any, now: Any, name: str = "") -> list[str]:
    """The keys, with dots, in which two configurations differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [name]
    keys = sorted({*before, *now})
    return [k for key in keys for k in _differing(before.get(key), now.get(key), f"{name}.{key}" if name else key)]


def _value(config: dict[str, Any], key: str) -> Any:
    return OmegaConf.select(OmegaConf.create(config), key)
