"""SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 (Slurm's warning) ask a run to end: it finishes its update, saves and closes.

Whoever asked sees exit code 128 + the signal's number, as of a process that a signal ended: 143, 130, 138. Asked again,
the process ends at once; the last checkpoint is whole all the same.
"""

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_SAME = 1.0  # s: a terminal and a launcher may both pass the same request on; what comes so soon is no second one

_asked: int | None = None  # kept until the process ends: the remaining cells of a sweep are not begun
_asked_at = 0.0


class Interrupted(Exception):
    """The run was asked to end, and can be gone on with."""

    def __init__(self, number: int):
        super().__init__(number)
        self.code = 128 + number

    def __str__(self) -> str:
        return f"{signal.Signals(self.args[0]).name}; resume= continues it, in a sweep its command"


class Ended(Interrupted):
    """A person's own function asked for the end of a run. It too can be gone on with."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)

    def __str__(self) -> str:
        return "on_update asked for the end; resume= continues it"


def asked() -> int | None:
    """The signal by which this process was asked to end."""
    return _asked


def check(*asked: int | None) -> None:
    """Raise Interrupted where this process was asked to end; or one of those, which ``asked`` names."""
    number = next((number for number in asked or (_asked,) if number is not None), None)
    if number is not None:
        raise Interrupted(number)


@contextmanager
def listening(*, forget: bool = False) -> Generator[None, None, None]:
    """Meanwhile, let the signals ask instead of killing. Only a process's main thread can listen.

    ``forget``: what was asked ends with this, and what is asked again goes to who listened before: the process is somebody
    else's. A sweep keeps it, whose remaining cells are then not begun.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = listen(back=forget)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if forget:
            _asked = None


def listen(what: str = "finishing the update", *, pass_on: bool = False, back: bool = False) -> dict:
    """Listen from now on; the handlers there were. ``pass_on``: ask the workers of a sweep as well. ``back``: what is asked
    again goes to these handlers; else it ends the process."""
    before: dict[int, Any] = {}

    def ask(number: int, frame: object) -> None:
        global _asked, _asked_at
        if _asked is not None and time.monotonic() - _asked_at > _SAME:
            signal.signal(number, (before.get(number) if back else None) or signal.SIG_DFL)
            signal.raise_signal(number)
            return
        if pass_on:
            for worker in _sweep_workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, number)
        if _asked is None:
            _asked, _asked_at = number, time.monotonic()
            name = signal.Signals(number).name
            with suppress(OSError):  # who listened, such as tee, may have died of the same Ctrl-C
                os.write(2, f"{name}: {what}, then ending; once more ends at once\n".encode())  # safe in a handler

    before.update({number: signal.signal(number, ask) for number in SIGNALS})
    return before


def _sweep_workers() -> list[int]:
    """The processes in which joblib runs this one's cells. Linux; elsewhere Ctrl-C reaches them by the terminal."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    with suppress(OSError):
        return [int(pid) for pid in children.read_text().split() if _is_sweep_worker(pid)]
    return []


def _is_sweep_worker(pid: str) -> bool:
    with suppress(OSError):  # it may have ended
        return b"popen_loky_posix" in Path("/proc", pid, "cmdline").read_bytes()
    return False
