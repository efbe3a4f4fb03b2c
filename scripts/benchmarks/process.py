"""Run a program to its end or to a time limit, and watch how much memory it and its children take."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]  # of the repository: every program runs here
EVERY = 0.5  # seconds between two looks at the memory; a look halts the program for some milliseconds


class Finished(NamedTuple):
    out: str
    error: str | None  # why it failed, one line; None for a success
    peak_mb: float | None  # None where the system does not tell


def run(command: Sequence[str], environment: Mapping[str, str], timeout: float) -> Finished:
    """Run ``command``. Whatever it started is killed with it when the time is over."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=os.environ | environment,
            start_new_session=True,
        )
        peak, end, late = 0, time.monotonic() + timeout, False
        try:
            while process.poll() is None:
                peak = max(peak, memory(process.pid))
                late = time.monotonic() > end
                if late:
                    break
                time.sleep(EVERY)
        finally:
            _end(process)
        out.seek(0), err.seek(0)
        said = err.read().strip().splitlines()
        error = None
        if late:
            error = f"not done after {timeout:.0f} s"
        elif process.returncode:
            error = said[-1] if said else f"exit code {process.returncode}"
        return Finished(out.read(), error, peak / 1e6 if peak else None)


def memory(pid: int) -> int:
    """Bytes: the peak resident set of a process so far, plus those of its descendants that are alive. 0 if unknown.

    What several of them have in common, such as the code of libraries, is one piece of memory and counted once: each
    has its proportional share of it (PSS).
    """
    try:
        (peak,) = _kilobytes(pid, "status", "VmHWM")
        resident, own = _kilobytes(pid, "smaps_rollup", "Rss", "Pss")
        children = [p for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
    except (OSError, ValueError):  # it ended meanwhile, or this system has no /proc
        return 0
    return 1024 * (peak - resident + own) + sum(memory(int(child)) for child in children)


def _kilobytes(pid: int, file: str, *names: str) -> list[int]:
    """What one look at the file says; ValueError where it does not: a process that has ended has no memory."""
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/{file}").read_text().splitlines() if ":" in line)
    if missing := set(names) - set(said):
        raise ValueError(f"/proc/{pid}/{file}: no {missing}")
    return [int(said[name].split()[0]) for name in names]


def _end(process: subprocess.Popen) -> None:
    """Kill what is left of the process's session and wait for it."""
    with suppress(OSError):  # nothing is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
