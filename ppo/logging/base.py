"""What a logger gets and what it must do; how its failures are kept away from the run."""

import hashlib
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

from ppo.config.extras import needs


class LoggerError(RuntimeError):
    """A logger cannot start as configured. The message is one line and says what would be right."""


class Run(NamedTuple):
    """What the trainer tells a logger about the run. Group and job type are set in a multirun, for comparisons."""

    folder: Path  # the run's own folder; a logger's files live inside
    name: str  # for people
    config: dict  # resolved, plain containers only
    group: str | None = None  # what is compared together: the sweep
    job_type: str | None = None  # which arm of it: "kl=exact,norm=group"
    id: str | None = None  # the backend's id of the run that this one resumes
    words: tuple[str, ...] = ()  # of the command line
    on_update: Callable[[dict], Any] | None = None  # a person's own function of every row; what is true ends the run


class Logger(Protocol):
    """A dashboard that follows a run. The trainer calls it from one thread, once an update."""

    run_id: str | None  # the backend's id of this run; None where it has none
    keeps: bool  # whether it was asked to keep files of the run: see ``keep``

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Record one update's metrics, ``env_steps`` being the x axis."""
        ...

    def alert(self, title: str, text: str) -> None:
        """Tell the person something that should not wait until the run is looked at."""
        ...

    def picture(self, name: str, file: Path) -> None:
        """Record a PNG as it is now."""
        ...

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """Record an MP4."""
        ...

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """Keep these files of the run folder as one thing of which there are versions; ``about``: what it is, in words."""
        ...

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Record the end of the run: its final numbers, and whether it failed."""
        ...


class Forgiving:
    """Passes calls on to ``logger`` and keeps its exceptions away from the run.

    A full disk or a lost server costs the dashboard, never the training: the first failure is reported in one line on
    stderr, later ones are silent, and every update is tried again, so that a passing trouble costs only a few rows.
    """

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._warned = False
        self.run_id, self.keeps = logger.run_id, logger.keeps

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """As ``Logger.log``; never raises an Exception."""
        self._try(self._logger.log, row, env_steps)

    def alert(self, title: str, text: str) -> None:
        """As ``Logger.alert``; never raises an Exception."""
        self._try(self._logger.alert, title, text)

    def picture(self, name: str, file: Path) -> None:
        """As ``Logger.picture``; never raises an Exception."""
        self._try(self._logger.picture, name, file)

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """As ``Logger.video``; never raises an Exception."""
        self._try(self._logger.video, name, file, env_steps)

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """As ``Logger.keep``; never raises an Exception."""
        self._try(self._logger.keep, folder, files, about)

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """As ``Logger.close``; never raises an Exception."""
        self._try(self._logger.close, summary, failed)

    def _try(self, call: Callable, *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:  # whatever a backend raises
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            say(f"{type(self._logger).__name__.lower()}: failed, the run goes on: {first_line(error)}")


def fitting(name: str, most: int) -> str:
    """``name`` for a service that takes ``most`` characters; one that is cut ends with a digest of all of it, so that two
    long ones stay distinct."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9]}-{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:8]}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {10: "\\n", 9: "\\t", 13: "\\r"}


def visible(text: str) -> str:
    """``text`` with control characters written out: a name cannot break a line or colour the terminal."""
    return text.translate(_CONTROL)


def missing(name: str) -> LoggerError:
    """The error to raise when the package behind ``logger=name``, an extra, is not installed."""
    return LoggerError(needs(f"logger={name}", name))


def lossy(*streams: TextIO) -> None:
    """From now on ``streams`` replace what they cannot encode: a terminal that is not UTF-8 costs a letter, never a run."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(line: str) -> None:
    """What a logger tells the person who started the run: one line on stderr; where nobody listens any more, none."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
