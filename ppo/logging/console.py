"""What a person sees while a run trains: a progress bar with time left and one live line under it.

Without a terminal (a pipe, a file, a dumb terminal) the same facts come as a short plain line now and then, without a
single control character. Which of the two is decided once, here, by the stream alone: environment variables that make
rich colour a pipe do not count.
"""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ppo.logging.band import band_at
from ppo.logging.base import lossy


class Console:
    """Progress on ``stream`` (default: stdout) towards ``total_steps`` environment steps; a context manager.

    ``done_steps`` is where a resumed run starts. ``every`` is the longest silence, in seconds, between two plain lines
    where there is no terminal. While the bar is up, ordinary ``print`` lands above it. No thread draws: it could hold
    its lock at the very moment an environment worker is forked.

    The display never ends a run: a stream that breaks (a closed pipe, a lost terminal) is written to in vain, and what it
    cannot encode is replaced.
    """

    def __init__(
        self, total_steps: int, done_steps: int = 0, stream: TextIO | None = None, *, every: float = 60.0
    ) -> None:
        self._total, self._start, self._steps = total_steps, done_steps, done_steps
        self._stream = sys.stdout if stream is None else stream
        self._every = every
        lossy(self._stream)
        self._known: dict[str, float | int | str] = {}
        self._began = self._told = time.monotonic()  # start, last plain line
        self._told_steps = done_steps
        self._live: Live | None = None
        if is_terminal(self._stream):
            # Everything that rich would guess from the environment is said instead.
            rich = RichConsole(file=self._stream, force_terminal=True, force_interactive=True, force_jupyter=False)
            # A stderr that goes to a file keeps going there.
            self._live = Live(console=rich, auto_refresh=False, redirect_stderr=is_terminal(sys.stderr))
            with suppress(OSError):
                self._live.start()
            self._draw()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, row: Mapping[str, float | int | str], env_steps: int) -> None:
        """Show an update's metrics. What a row lacks (no episode ended) stays as it was last seen."""
        self._known.update(row)
        self._steps = env_steps
        self._draw()
        if self._live is None and ("eval/return" in row or time.monotonic() - self._told >= self._every):
            self._tell()

    def line(self, text: str) -> None:
        """Print ``text``, above the bar where there is one. It is not markup: brackets are brackets."""
        with suppress(OSError):
            if self._live is not None:
                self._live.console.print(Text(text), soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Show the last state and give the terminal back (cursor, stdout, stderr). A second call does nothing."""
        if self._live is not None:
            self._draw()
            live, self._live = self._live, None
            with suppress(OSError):
                live.stop()
        elif self._steps > self._told_steps:
            self._tell()

    def _draw(self) -> None:
        if self._live is not None:
            row = Table.grid(Column(ratio=1), Column(no_wrap=True), expand=True, padding=(0, 1))
            row.add_row(ProgressBar(total=self._total, completed=self._steps), self._position())
            facts = self._facts()
            facts.no_wrap, facts.overflow = True, "ellipsis"  # cut, not wrapped: the display keeps its height
            with suppress(OSError):
                self._live.update(Group(row, facts), refresh=True)

    def _tell(self) -> None:
        """One plain line."""
        self._told, self._told_steps = time.monotonic(), self._steps
        self.line(f"{self._position()}  {self._facts().plain}".rstrip())

    def _position(self) -> str:
        """How far, and how long still at the mean speed so far: evaluations count, as they will further on."""
        done, elapsed = self._steps - self._start, time.monotonic() - self._began
        text = f"{self._steps:,}/{self._total:,} steps  {min(1.0, self._steps / self._total):.0%}"
        if self._steps >= self._total:
            return f"{text}  {_clock(elapsed)} taken"
        return f"{text}  {_clock(elapsed * (self._total - self._steps) / done)} left" if done > 0 else text

    def _facts(self) -> Text:
        """Return, evaluated return, speed, KL with its band, an early stop: whatever is known by now."""
        parts: list[Text] = []
        for name, form in (
            ("train/return", "return {:,.1f}"),
            ("eval/return", "eval {:,.1f}"),
            ("speed/total", "{:,.0f} steps/s"),
            ("kl/final", "KL {:.4f}"),
        ):
            if name in self._known:
                number = float(self._known[name])
                parts.append(Text(form.format(number)))
                if name == "kl/final":
                    where = band_at(number, self._steps / self._total)
                    advice = f": {where.advice}" if where.advice else ""
                    parts[-1].append(" ").append(where.name + advice, style=where.colour)
        if self._known.get("update/stop", "none") != "none":
            parts.append(Text(f"stopped in epoch {self._known['stop/epoch']:.0f}"))
        return Text("  ").join(parts)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at ``stream``, and it can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    return str(timedelta(seconds=round(seconds)))
