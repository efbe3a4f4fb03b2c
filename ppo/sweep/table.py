"""A sweep on a terminal: one live table of its cells, read from their folders, whoever runs them.

Cells then write what they say into ``output.txt`` of their own folder. Without a terminal nothing here is used, and they
say it where the sweep was started.
"""

import re
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ppo.logging import jsonl
from ppo.logging.console import is_terminal
from ppo.run.folder import run_json

_EVERY = 1.0  # s between two looks
_TAIL = 1 << 18  # bytes: longer than a row
_OPEN = ("running", "begins")


class Row(NamedTuple):
    """What a cell's folder says of it."""

    name: str
    status: str  # running, finished, failed, interrupted; begins: has no run.json yet
    steps: int = 0
    total: int = 0
    seconds: float = 0.0  # that training took so far
    value: float | None = None  # the last evaluation's return, else that of training
    reason: str = ""

    @property
    def left(self) -> float | None:
        """Seconds, at the mean speed so far."""
        ahead = max(0, self.total - self.steps)  # a run ends with a whole rollout, beyond its total
        return self.seconds * ahead / self.steps if self.steps and self.status in _OPEN else None


def look(sweep: Path, token: str, over: dict[str, Row]) -> list[Row]:
    """The cells that the multirun of this ``token`` has begun, in the order of their names. ``over``: those that were found
    finished, which are not read again."""
    begun = [lock.name for lock in sorted((sweep / ".locks").glob("*")) if lock.name in over or _text(lock) == token]
    rows = [over.get(name) or _row(sweep / name) for name in begun]
    over.update({row.name: row for row in rows if row.status == "finished"})
    return rows


def _row(folder: Path) -> Row:
    said = run_json(folder)
    latest, last = _ends(folder / "metrics.jsonl")
    values = (latest[name] for name in ("eval/return", "train/return") if isinstance(latest.get(name), int | float))
    return Row(
        name=folder.name,
        status=said.get("status", "begins"),
        steps=last.get("env_steps", 0),
        total=_total(folder),
        seconds=last.get("time/wall", 0.0),
        value=next(values, None),
        reason=said.get("reason") or "",
    )


def _ends(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the latest value of each metric within the last ``_TAIL`` bytes, the last whole row); both empty where there is
    none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return {}, {}
    rows: list[dict[str, Any]] = []
    for line in lines:
        with suppress(ValueError):  # the first may be a part of one, the last may be being written
            rows.append(jsonl.parsed(line))
    latest: dict[str, Any] = {}
    for row in rows:
        latest |= row
    return latest, rows[-1] if rows else {}


def _total(folder: Path) -> int:
    found = re.search(r"^total_steps: (\d+)$", _text(folder / "config.yaml"), re.M)
    return int(found[1]) if found else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def summary(rows: list[Row], asked: int | None) -> str:
    """How many cells are where, and how long still at the speed of those that run."""
    count = {status: sum(row.status == status for row in rows) for status in ("finished", "failed", "interrupted")}
    running = [row for row in rows if row.status in _OPEN]
    waiting = max(0, (asked or 0) - len(rows))
    parts = [f"{count['finished']}{f' of {asked}' if asked else ''} finished", f"{len(running)} running"]
    parts += [f"{waiting} to begin"] if waiting else []
    parts += [f"{count[status]} {status}" for status in ("failed", "interrupted") if count[status]]
    speed = sum(row.steps / row.seconds for row in running if row.seconds)
    if speed and asked:
        whole = max(row.total for row in rows)
        steps = sum(max(0, row.total - row.steps) for row in running) + waiting * whole
        parts.append(f"about {_clock(steps / speed)} left")
    return ", ".join(parts)


def short(names: list[str]) -> list[str]:
    """Of words that are joined by commas those that not all of the ``names`` have."""
    common = set.intersection(*(set(name.split(",")) for name in names)) if len(names) > 1 else set()
    return [",".join(word for word in name.split(",") if word not in common) or name for name in names]


def picture(sweep: Path, rows: list[Row], asked: int | None, height: int) -> RenderableType:
    """The table in at most ``height`` lines: cells that run, then those that failed, then those that finished last."""
    order = {"running": 0, "begins": 0, "failed": 1, "interrupted": 1}
    shown = sorted(rows, key=lambda row: (order.get(row.status, 2), row.name))[: max(1, height - 4)]
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    table.add_column("cell", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("", ratio=2)
    for name in ("steps", "return", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    called = dict(zip((row.name for row in rows), short([row.name for row in rows]), strict=True))
    for row in shown:
        value = "" if row.value is None else f"{row.value:,.1f}"
        if row.status == "failed":
            bar: RenderableType = Text(row.reason or "failed", style="red", no_wrap=True, overflow="ellipsis")
        else:
            bar = ProgressBar(total=max(1, row.total), completed=row.total if row.status == "finished" else row.steps)
        last = (
            _clock(row.left)
            if row.left is not None
            else {"running": "", "begins": "begins"}.get(row.status, row.status)
        )
        table.add_row(Text(called[row.name]), bar, f"{row.steps:,}", value, last)
    hidden = len(rows) - len(shown)
    more = [Text(f"and {hidden} more", style="dim")] if hidden else []
    return Group(Text(f"{sweep.name}: {summary(rows, asked)}", no_wrap=True, overflow="ellipsis"), table, *more)


class Watching:
    """Draws the table until ``stop``. A thread does: the process itself may be running a cell."""

    def __init__(self, sweep: Path, token: str, asked: int | None):
        self._what = sweep, token, asked
        self._console = Console(file=sys.stdout, force_terminal=True, force_interactive=True, force_jupyter=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stderr=is_terminal(sys.stderr))
        self._finished: dict[str, Row] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, daemon=True)
        with suppress(OSError):
            self._live.start()
        self._thread.start()

    def _draw_on(self) -> None:
        while not self._over.wait(_EVERY):
            self._draw()

    def _draw(self) -> None:
        sweep, token, asked = self._what
        with suppress(OSError):  # a terminal that is gone costs the table, no cell
            rows = look(sweep, token, self._finished)
            self._live.update(picture(sweep, rows, asked, self._console.height), refresh=True)

    def stop(self) -> None:
        """Draw the last state and give the terminal back; a second call does nothing."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self._draw()
            with suppress(OSError):
                self._live.stop()


@contextmanager
def into_file(folder: Path, quiet: bool) -> Generator[None, None, None]:
    """Where ``quiet``, what a cell says goes to ``output.txt`` in its folder, after what an earlier part of it said."""
    if not quiet:
        yield
        return
    with (
        (folder / "output.txt").open("a", encoding="utf-8", buffering=1) as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        yield


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
