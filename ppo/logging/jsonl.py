"""``metrics.jsonl``: one JSON object an update, appended and synced, so that a killed run keeps all but its last line.

JSON has no NaN: a number that is not finite is written as the text ``"NaN"``, ``"Infinity"`` or ``"-Infinity"``, and
``read`` turns it back into a float. Unlike the console and the dashboards, this file is the run's result: a failure to
write it is an error.
"""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
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
        # Unbuffered: when ``log`` returns, the row is with the operating system and survives a killed process. Not opened
        # for appending, which would write at the end wherever ``extend`` says.
        self._file = open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)  # noqa: SIM115
        self._end = 0
        if self._path.is_file():
            self._end = self._file.read().rfind(b"\n") + 1
            self._file.truncate(self._end)

    def log(self, row: Mapping[str, Value]) -> None:
        """Write one row.

        Raises ValueError on an undeclared name, TypeError on a value that is no number, text or list of them (nothing is
        written then), and OSError when the disk refuses.
        """
        self._write(self._end, _text(row))

    def extend(self, more: Mapping[str, Value]) -> None:
        """Add ``more`` to the last row: what was measured after it was written.

        Raises as ``log`` does; the row is then as it was. A process that is killed in here leaves it torn.
        """
        closing = b"}\n"
        try:
            self._write(self._end - len(closing), b", " + _text(more)[1:])
        except OSError:
            with suppress(OSError):
                os.pwrite(self._file.fileno(), closing, self._end - len(closing))
                os.ftruncate(self._file.fileno(), self._end)
            raise

    def _write(self, start: int, data: bytes) -> None:
        """Write ``data`` from byte ``start`` on, where the file then ends."""
        end = start + len(data)
        try:
            while data:  # a nearly full disk takes a part and raises on the rest
                data = data[os.pwrite(self._file.fileno(), data, end - len(data)) :]
            os.fsync(self._file.fileno())  # a checkpoint must not outlive the row of its update
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._end = end

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
            row = parsed(line)
        except ValueError as error:
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


def parsed(line: bytes) -> dict[str, Any]:
    """One line, its non-finite numbers restored. Raises ValueError where it is not what ``Jsonl.log`` writes."""
    try:
        found = json.loads(line)
    except RecursionError as error:
        raise ValueError(error) from None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    row = {name: _restored(name, value) for name, value in found.items()}
    for name in ("update", "env_steps"):
        if not isinstance(row.get(name, 0), int):
            raise ValueError(f"{name} is no whole number")
    return row


def rewind(path: Path, update: int) -> None:
    """Cut off what comes after ``update``: a run that resumes from there will write it again."""
    end = start = 0
    for line in path.read_bytes().split(b"\n")[:-1]:
        start += len(line) + 1
        if json.loads(line).get("update", 0) <= update:
            end = start
    os.truncate(path, end)


def _plain(name: str, value: object) -> Value:
    """A Python number, text or list; numpy scalars are converted."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):  # most are, and an abstract class is slow
        return value
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


def _text(row: Mapping[str, Value]) -> bytes:
    """One line. Raises ValueError and TypeError as ``Jsonl.log`` says."""
    metrics.check(row)
    return json.dumps({name: _plain(name, value) for name, value in row.items()}, allow_nan=False).encode() + b"\n"
