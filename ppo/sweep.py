"""The cells of a multirun: a finished one is not run again, a failed one does not stop the others, the end lists them.

The same command again runs what is missing. A cell is locked while it runs, by a lock that ends with its process, so
that a second sweep, or one that was killed, never runs a cell twice, whatever launched it.
"""

import fcntl
import json
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from ppo.config import ConfigError, plain
from ppo.runs import endpoint, run_folders

_FREE = (
    "workers",
    "threads",
    "logger",
    "compile",
    "doctor",
    "plots",
)  # may differ between the cell that is done and the one asked for


class Cell(NamedTuple):
    """What a cell's folder says of it."""

    folder: Path
    status: str  # finished, failed, or running: which it is not, if nobody holds the folder
    reason: str | None = None


class Sweep(Callback):
    """Hydra's callback: remembers, in the process that was started, where the multirun is."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Sweep.folder = Path(config.hydra.sweep.dir)


@contextmanager
def cell(folder: Path, config: dict) -> Generator[float | None, None, None]:
    """Hold the folder of a cell, waiting for whoever holds it now. Yields the result of a finished one, which is not
    to be run again, else None. An earlier attempt that did not finish is put aside. A failure is written down.

    Raises ConfigError where the folder holds a finished run of another configuration.
    """
    _end_with_parent()
    with _lock_of(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = inspect(folder)
        if found and found.status == "finished":
            _check_same(folder, config)
            yield endpoint(folder)
            return
        if any(folder.iterdir()):
            _put_aside(folder)
        try:
            yield None
        except BaseException as error:
            _write_failure(folder, config, error)
            raise


def _lock_of(folder: Path) -> IO:
    """A file beside the folder: on a folder shared by machines (NFS) only a file that is open for writing locks."""
    path = folder.parent / ".locks" / folder.name
    path.parent.mkdir(exist_ok=True)
    return path.open("w")


def _is_held(folder: Path) -> bool:
    """Whether a process, here or on another machine, runs the cell now."""
    with _lock_of(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@cache
def _end_with_parent() -> None:
    """In a worker of joblib: end when the sweep is killed. By itself it would run on, and then wait for ever."""
    if not multiprocessing.current_process().name.startswith("Loky"):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def inspect(folder: Path) -> Cell | None:
    """The cell in ``folder``; None where there is none."""
    try:
        said = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return None
    return Cell(folder, said.get("status", "failed"), said.get("reason"))


def report(sweep: Path, console: Console) -> int:
    """Print how many cells of a sweep finished, and a table of those that did not; the number of these."""
    cells = [found for folder in run_folders(sweep) if (found := inspect(folder))]
    failed = [found for found in cells if found.status != "finished"]
    console.print(
        f"{sweep}: {len(cells) - len(failed)} of {len(cells)} cells finished", soft_wrap=True, highlight=False
    )
    if failed:
        table = Table("cell", "status", "reason")
        for found in failed:
            status = "died" if found.status == "running" and not _is_held(found.folder) else found.status
            table.add_row(str(found.folder.relative_to(sweep)), status, found.reason or "")
        console.print(table)
        console.print("The same command again runs these, and no others.")
    return len(failed)


def _check_same(folder: Path, config: dict) -> None:
    before = plain(cast(DictConfig, OmegaConf.load(folder / "config.yaml")))
    keys = sorted(k for k in {*before, *config} if k not in _FREE and before.get(k) != config.get(k))
    if keys:
        raise ConfigError(
            f"{folder}: holds a finished run of another configuration (it differs in {', '.join(keys)}); "
            "choose another hydra.sweep.dir"
        )


def _put_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.parent / ".attempts" / f"{folder.name}.{number}").exists():
        number += 1
    aside.mkdir(parents=True)
    for path in list(folder.iterdir()):
        path.rename(aside / path.name)


def _write_failure(folder: Path, config: dict, error: BaseException) -> None:
    (folder / "error.txt").write_text("".join(traceback.format_exception(error)))
    if not (folder / "run.json").exists():  # it failed before it began; a comparison must still know its arm
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        (folder / "run.json").write_text(json.dumps({"status": "failed", "reason": reason, "name": folder.name}) + "\n")
