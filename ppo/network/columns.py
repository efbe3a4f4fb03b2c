"""Which columns of an observation a network sees: a critic may be given more than an actor."""

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_ALL = "['0:'] sees all of them, null what the world has for it"


class Columns(nn.Module):
    """``obs[..., index]``; the first layer of a network that does not see everything. Columns in a row cost no copy."""

    index: Tensor

    def __init__(self, index: Sequence[int]):
        super().__init__()
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.columns = tuple(index)  # read by whoever asks whether two networks are the same program

    def forward(self, obs: Tensor) -> Tensor:
        first, end = self.columns[0], self.columns[-1] + 1
        return obs[..., first:end] if end - first == len(self.columns) else obs[..., self.index]


def choose(wanted: Sequence[int | str] | None, size: int, names: Mapping[str, range]) -> list[int] | None:
    """The columns that ``wanted`` names, ascending, each once; None, for all of them, where it names all.

    An entry is a number (negative ones count from the end), a range ``"0:13"`` as Python's slices, or the name of a group
    of columns, for which ``*`` and ``?`` may stand: ``names``, {"imu/gyro": range(0, 3), ...}. A name also stands for
    the groups below it: ``"imu"``. A text that is a name is no number: ``"0"``, where
    a part is called so. Raises ValueError where an entry names nothing, and where there is no column.
    """
    if wanted is None:
        return None
    if not wanted:
        raise ValueError(f"[]: names no column; {_ALL}")
    found = {column for entry in wanted for column in _entry(entry, size, names)}
    if not found:
        raise ValueError(f"[{','.join(map(str, wanted))}]: names parts that have no column; {_ALL}")
    return sorted(found) if len(found) < size else None


def _entry(entry: int | str, size: int, names: Mapping[str, range]) -> Sequence[int]:
    text = str(entry)
    if isinstance(entry, str) and (named := [name for name in names if name == text or name.startswith(f"{text}/")]):
        return [column for name in named for column in names[name]]
    if re.fullmatch(r"-?\d+", text):
        if not -size <= int(text) < size:
            raise ValueError(f"{text}: there are columns 0 to {size - 1}")
        return [int(text) % size]
    if re.fullmatch(r"(-?\d+)?:(-?\d+)?", text):
        low, high = (int(end) if end else None for end in text.split(":"))
        columns = range(size)[low:high]
        if not columns or max(map(abs, (low or 0, high or 0))) > size:  # a slice of Python's would just end earlier
            raise ValueError(f"{text}: there are columns 0 to {size - 1}")
        return columns
    pattern = text.replace("[", "[[]")  # * and ? alone stand for something
    below = [name for name in names if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")]
    if not below:
        near = difflib.get_close_matches(text, names, n=1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'no names, only numbers'}"
        raise ValueError(f"{text}: no such columns; {known}")
    return [column for name in below for column in names[name]]
