"""The cells of a multirun: a finished one is not run again, a failed one does not stop the others, the end lists them.

The same command again runs what is missing. A cell is locked while it runs, by a lock that is released when its process
ends, so that no cell runs twice, whatever launched it: a second sweep, or one that is started again after a kill.
"""

import json
import multiprocessing
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from omegaconf import OmegaConf
from rich.console import Console

from envs.process import end_with_parent
from ppo.compare.printed import print_line, print_table
from ppo.config.options import ConfigError
from ppo.logging.files import write_atomically
from ppo.run import signals
from ppo.run.folder import check_same, config_of, lock_of_cell, result, run_folders, run_json
from ppo.sweep.callback import Sweep


class Cell(NamedTuple):
    """What a cell's folder says of it."""

    folder: Path
    status: str  # finished, failed, or running: which it is not, if nobody holds the folder
    reason: str | None = None


@contextmanager
def cell(folder: Path, config: dict) -> Generator[float | None, None, None]:
    """Hold the folder of a cell, waiting for whoever holds it now. Yields the result of a finished cell, which is not
    run again, else None. An unfinished one resumes from its checkpoint; where it has none, or is one of another
    configuration, it is put aside. A failure is recorded.

    Raises ConfigError where the folder holds a finished run of another configuration.
    """
    _end_with_parent()
    signals.check()
    import fcntl  # here: a system without it can still run a single run

    with _lock_of(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(Sweep.token)
        lock.flush()
        done = result(folder, config)
        if done is not None:
            yield done
            return
        if any(folder.iterdir()) and not _can_resume(folder, config):
            _put_aside(folder)
        (folder / "error.txt").unlink(missing_ok=True)
        before = run_json(folder)
        try:
            yield None
        except BaseException as error:
            with suppress(OSError):  # the disk may be what failed
                _write_failure(folder, config, error, before)
            raise


def _lock_of(folder: Path) -> IO:
    """In it is the token of the multirun that asked for the cell last."""
    path = lock_of_cell(folder)
    path.parent.mkdir(exist_ok=True)
    return path.open("a+")


def _is_held(folder: Path) -> bool:
    """Whether a process, here or on another machine, runs the cell now."""
    import fcntl

    with _lock_of(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@cache
def _end_with_parent() -> None:
    """In a worker of joblib: end when the sweep is killed. By itself it would carry on, and then wait for ever."""
    if not multiprocessing.current_process().name.startswith("Loky"):
        return
    signals.listen()  # between two cells, too
    end_with_parent()


def inspect(folder: Path) -> Cell | None:
    """The cell in ``folder``; None where there is none."""
    said = run_json(folder)
    return Cell(folder, said.get("status", "failed"), said.get("reason")) if said else None


def report(sweep: Path, console: Console, *, asked: int | None = None, token: str = "", why: str = "") -> int:
    """Print how many of the cells that were asked for finished, and a table of those that did not; the number of these.

    Without ``token`` every cell in the folder counts, else those that the multirun of this token asked for; ``asked``:
    how many these are, of which some may not have begun; ``why``, where that is known.
    """
    cells = [found for folder in run_folders(sweep) if (found := inspect(folder)) and _belongs(folder, token)]
    failed = [found for found in cells if found.status != "finished"]
    missing = max(0, (asked or 0) - len(cells))
    print_line(console, f"{sweep}: {len(cells) - len(failed)} of {len(cells) + missing} cells finished")
    if failed:
        rows = [
            [
                str(found.folder.relative_to(sweep)),
                "died" if found.status == "running" and not _is_held(found.folder) else found.status,
                found.reason or "",
            ]
            for found in failed
        ]
        print_table(console, ["cell", "status", "reason"], rows)
    if missing:
        print_line(console, f"{missing} did not begin{f': {why}' if why else '.'}")
    if (failed or missing) and not (missing and why):  # what keeps cells from beginning would do so again
        print_line(console, "The same command again runs these, and no others.")
    return len(failed) + missing


def _belongs(folder: Path, token: str) -> bool:
    lock = lock_of_cell(folder)
    return not token or (lock.is_file() and lock.read_text() == token)


def _can_resume(folder: Path, config: dict) -> bool:
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


def _write_failure(folder: Path, config: dict, error: BaseException, before: dict) -> None:
    """``before``: what run.json said when the cell began."""
    write_atomically(folder / "error.txt", "".join(traceback.format_exception(error)))
    said = run_json(folder)
    if said != before and said.get("status", "running") != "running":  # the run itself said how it ended
        return
    if not said:  # it failed before its first update; a comparison must still know its arm
        write_atomically(folder / "config.yaml", OmegaConf.to_yaml(config))
    status = "interrupted" if isinstance(error, signals.Interrupted) else "failed"
    failed = {"status": status, "reason": f"{type(error).__name__}: {error}".splitlines()[0], "name": folder.name}
    write_atomically(folder / "run.json", json.dumps(said | failed) + "\n")
