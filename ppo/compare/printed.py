"""Names are data: text for terminals that shows what was given, letter by letter, whatever the letters are."""

import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppo.logging.base import visible

FOLDED = 16  # columns that folded text has at least
WIDTH = 160  # columns of a pipe or a file, which have none of their own


def print_line(console: Console, line: str) -> None:
    """One line as it is: no markup, no colours, not broken by us."""
    console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None
) -> None:
    """A table whose cells are shown whole. Columns of numbers stay on one line; text is folded where a terminal is too
    narrow for it. What is still too wide, and all that goes to a file or a pipe, is printed at its own width."""
    cells = [[visible(cell) for cell in row] for row in rows]
    table = Table(title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    if title is not None:
        table.title = Text(visible(title))
    narrow = 0
    for name, values in zip(columns, zip(*cells)):
        numbers = all(not value or value[0] in "-–0123456789" for value in values)
        widest = max(map(cell_len, (name, *values)))
        least = widest if numbers else min(FOLDED, widest)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold", min_width=least)
        narrow += least + 2
    for row in cells:
        table.add_row(*map(Text, row))
    own = console.width
    console.width = max(own, narrow if console.is_terminal else Console(width=100_000).measure(table).maximum)
    console.print(table, crop=False)
    console.width = own


def stream_that_fits(stream) -> None:
    """Letters that the encoding of ``stream`` lacks are replaced there; without this they would end the program."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


class _Patient(Console):
    """rich by itself ends the program where the reader has closed the pipe."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Standard output, whatever it is. Where its reader is gone, printing raises BrokenPipeError."""
    return _Patient(width=None if sys.stdout.isatty() else WIDTH)
