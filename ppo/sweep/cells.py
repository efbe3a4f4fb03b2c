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
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from rich.console import Console
from rich.table import Table

from ppo.config.options import ConfigError
from ppo.logging.files import write_atomically
from ppo.run import signals
from ppo.run.folder import check_same, config_of, fresh, result, run_folders, run_json


class Cell(NamedTuple):
    """What a cell's folder says of it."""

    folder: Path
    status: str  # finished, failed, or running: which it is not, if nobody holds the folder
    reason: str | None = None


class Sweep(Callback):
    """Hydra's callback: gives a run or a multirun whose folder is named by a clock one of its own, and remembers, in the
    process that was started, where the multirun is."""

    folder: Path | None = None

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        _own_folder(config.hydra.run)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Sweep.folder = _own_folder(config.hydra.sweep)
        signals.listen("the cells that run are finishing their updates", pass_on=True)


def _own_folder(node: DictConfig) -> Path:
    """The folder that ``node.dir`` says, absolute: an environment may change the working directory. Two that were started
    within one tick of the clock that names it do not share it."""
    named_by_clock = "${now:" in str(cast(dict, OmegaConf.to_container(node, resolve=False))["dir"])
    folder = Path(node.dir).absolute()
    with read_write(node):
        node.dir = str(fresh(folder) if named_by_clock else folder)
    return Path(node.dir)


@contextmanager
def cell(folder: Path, config: dict) -> Generator[float | None, None, None]:
    """Hold the folder of a cell, waiting for whoever holds it now. Yields the result of a finished one, which is not
    to be run again, else None. An unfinished one goes on from its checkpoint; where it has none, or is one of another
    configuration, it is put aside. A failure is written down.

    Raises ConfigError where the folder holds a finished run of another configuration.
    """
    _end_with_parent()
    signals.check()
    with _lock_of(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = result(folder, config)
        if done is not None:
            yield done
            return
        if any(folder.iterdir()) and not _can_go_on(folder, config):
            _put_aside(folder)
        (folder / "error.txt").unlink(missing_ok=True)
        try:
            yield None
        except BaseException as error:
            with suppress(OSError):  # the disk may be what failed
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
    signals.listen()  # between two cells, too
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def inspect(folder: Path) -> Cell | None:
    """The cell in ``folder``; None where there is none."""
    said = run_json(folder)
    return Cell(folder, said.get("status", "failed"), said.get("reason")) if said else None


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


def _can_go_on(folder: Path, config: dict) -> bool:
    try:
        check_same(folder, config_of(folder), config)
    except ConfigError:
        return False
    return any(folder.glob("checkpoints/*"))


def _put_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.parent / ".attempts" / f"{folder.name}.{number}").exists():
        number += 1
    aside.mkdir(parents=True)
    for path in list(folder.iterdir()):
        path.rename(aside / path.name)


def _write_failure(folder: Path, config: dict, error: BaseException) -> None:
    write_atomically(folder / "error.txt", "".join(traceback.format_exception(error)))
    if not (folder / "run.json").exists():  # it failed before it began; a comparison must still know its arm
        write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config))
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        failed = {"status": "failed", "reason": reason, "name": folder.name}
        write_atomically(folder / "run.json", json.dumps(failed) + "\n")
