"""``metrics.jsonl``: one JSON object an update, appended and synced, so that a killed run keeps all but its last line.

JSON has no NaN: a number that is not finite is written as the text ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, and
``read`` turns it back into a float. Unlike the console and the dashboards, this file is the run's result: a failure to
write it is an error.
"""

import json
import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ppo.logging import metrics

Value = float | int | str | list

_TO_FLOAT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Jsonl:
    """Appends rows to ``path``. A line torn by an earlier death is cut off first, so that no row is glued to it."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        if self._path.is_file():
            _cut_torn_line(self._path)
        # Unbuffered: when ``log`` returns, the row is with the operating system and survives a killed process.
        self._file = self._path.open("ab", buffering=0)

    def log(self, row: Mapping[str, Value]) -> None:
        """Write one row.

        Raises ValueError on an undeclared name, TypeError on a value that is no number, text or list of them (nothing is
        written then), and OSError when the disk refuses.
        """
        metrics.check(row)
        text = json.dumps({name: _plain(name, value) for name, value in row.items()}, allow_nan=False)
        data = text.encode() + b"\n"
        try:
            while data:  # a nearly full disk takes a part and raises on the rest
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())  # a checkpoint must not outlive the row of its update
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()


def read(path: Path | str) -> list[dict[str, Any]]:
    """The rows of ``path``, non-finite numbers restored; what a resumed run did over again counts once.

    A torn last line (the run was killed while writing it) is left out. A resumed run starts again from its
    checkpoint: where ``update`` goes back, the rows it does over are dropped in favour of the later ones.
    Raises ValueError, naming file and line, when any other line is damaged.
    """
    rows: list[dict[str, Any]] = []
    lines = Path(path).read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is empty or torn
        try:
            row = _row(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not a row of metrics ({error})") from None
        if "update" in row:
            while rows and rows[-1].get("update", -1) >= row["update"]:
                rows.pop()
        rows.append(row)
    return rows


def _restored(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(name, x) for x in value]
    if not isinstance(value, float | int | str) or isinstance(value, bool):
        raise ValueError(f"{name} is no number, text or list of them")
    return _TO_FLOAT.get(value, value) if isinstance(value, str) else value


def _row(found: object) -> dict[str, Any]:
    """``found`` with its non-finite numbers restored. Raises ValueError where it is not what ``Jsonl.log`` writes."""
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    row = {name: _restored(name, value) for name, value in found.items()}
    for name in ("update", "env_steps"):
        if not isinstance(row.get(name, 0), int):
            raise ValueError(f"{name} is no whole number")
    return row


def rewind(path: Path, update: int) -> None:
    """Leave out what comes after ``update``, atomically: a run that goes on from there will write it again."""
    kept = [line for line in path.read_bytes().split(b"\n")[:-1] if json.loads(line).get("update", 0) <= update]
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(b"".join(line + b"\n" for line in kept))
    os.replace(temporary, path)


def _plain(name: str, value: object) -> Value:
    """A Python number, text or list; numpy scalars are converted."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_plain(name, entry) for entry in value]
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        raise TypeError(f"metric {name!r} is a {type(value).__name__}, expected a number or text")
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _cut_torn_line(path: Path) -> None:
    """Truncate ``path`` after its last newline."""
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
