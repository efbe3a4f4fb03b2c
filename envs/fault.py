"""Exceptions of an environment's own code: one line that says where it happened, and the whole traceback beside it."""

import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from envs.base import EnvError, VectorEnv

# What an environment's code may raise. sys.exit() is among it: a simulator that gives up must not end a run unheard.
RAISED = (Exception, SystemExit)

_HERE = str(Path(__file__).parent)
_PYTHON = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


def raised(where: str, error: BaseException) -> EnvError:
    """The EnvError that says ``where`` and what was raised, with file and line in the environment's own code.

    Its ``traceback`` is the whole of it; ``keep`` writes that to a file.
    """
    text = " ".join(str(error).split()) or "no message"
    short = text if len(text) <= 400 else f"{text[:400]} ..."
    at = place(error)
    made = EnvError(f"{where} raised {type(error).__name__}: {short}{f' ({at})' if at else ''}")
    made.traceback = "".join(traceback.format_exception(error))
    return made


def place(error: BaseException) -> str | None:
    """``file:line in function`` of the innermost frame of the code that is neither ours, nor gymnasium's, nor a library
    which that code calls. None where there is no such frame."""
    for cause in _causes(error):
        frames = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in _walk(cause)]
        homes = [_home(file) for file, _, _ in frames]
        # Who is called first, after ours and gymnasium's, is the environment; what it calls may be a library.
        own = next((home for home in homes if home not in ("border", "gymnasium", "python")), None)
        if own is not None:
            file, line, name = next(f for f, home in zip(reversed(frames), reversed(homes)) if home == own)
            return f"{file}:{line} in {name}"
    return None


def keep(error: Exception, folder: Path | None = None) -> None:
    """Write the traceback that the error carries, or what it was raised from, and have its line name the file:
    ``traceback.txt`` in ``folder``, or a temporary file. Does nothing to an error without one, and nothing the second
    time."""
    carrier = next((e for e in (error, error.__cause__) if isinstance(e, EnvError) and e.traceback), None)
    if carrier is None:
        return
    with suppress(OSError):  # a disk that is full must not hide the line
        if folder is not None:
            path = folder / "traceback.txt"
            path.write_text(carrier.traceback, encoding="utf-8")
        else:
            with tempfile.NamedTemporaryFile(
                "w", prefix="traceback-", suffix=".txt", encoding="utf-8", delete=False
            ) as file:
                file.write(carrier.traceback)
            path = Path(file.name)
        error.args, carrier.traceback = (f"{error}; the whole traceback: {path}",), ""


@contextmanager
def closing(envs: VectorEnv) -> Generator[VectorEnv, None, None]:
    """Meanwhile, ``envs``; then they are closed. What their ``close()`` raises is a line on stderr and no more: what was
    done with them is done, and it counts."""
    try:
        yield envs
    finally:
        try:
            envs.close()
        except EnvError as error:
            keep(error)
            print(error, file=sys.stderr, flush=True)


def first_of(failures: Sequence[EnvError]) -> None:
    """Raise the first; but only say them where another exception is on its way: that one is what went wrong first."""
    if failures and sys.exc_info()[1] is None:
        raise failures[0]
    for failure in failures:
        print(failure, file=sys.stderr, flush=True)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, the first cause first; then itself."""
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _causes(before)
    yield error


def _walk(error: BaseException) -> Iterator[tuple]:
    yield from traceback.walk_tb(error.__traceback__)


@cache
def _home(file: str) -> str:
    """Whose code a file is: "border" (what stands around an environment here), "gymnasium", "python", the name of another
    installed package, or "" for all that is not installed."""
    path = Path(file)
    if str(path.parent) == _HERE:
        return "border"
    for name in ("site-packages", "dist-packages"):
        if name in path.parts[:-1]:
            package, *below = path.parts[path.parts.index(name) + 1 :]
            task = package == "gymnasium" and below[0] == "envs" and len(below) == 3  # gymnasium/envs/FAMILY/TASK.py
            return "gymnasium's tasks" if task else package
    return "python" if file.startswith(("<", *_PYTHON)) else ""
