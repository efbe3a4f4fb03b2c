"""C of our own: compiled once on this machine by the compiler that is there, kept, and from then on only loaded.

It is never needed: whoever has no compiler gets None and does the same in Python, more slowly.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from envs.base import say_once

# Floating-point numbers as C says them: nothing is contracted or reordered, so that a sum is what its source says.
_FLAGS = ("-O3", "-march=native", "-std=c11", "-ffp-contract=off", "-shared", "-fPIC")


def cache_folder() -> Path:
    """Where what was compiled is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exactkl" / "compile"


@cache
def load(source: Path, *flags: str) -> ctypes.CDLL | None:
    """The library of a C file, compiled with ``flags`` as well; None where that cannot be, which is said once.

    Which library fits is decided by the source, the flags and the processor: another machine that shares the folder
    compiles its own.
    """
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        return None
    command = [compiler, *_FLAGS, *flags]
    try:
        digest = hashlib.sha256(source.read_bytes() + repr(command).encode() + processor()).hexdigest()[:32]
        library = cache_folder() / f"{source.stem}-{digest}.so"
        if not library.exists():
            _compile(command, source, library)
        return ctypes.CDLL(str(library))
    except (OSError, RuntimeError) as error:  # also a folder that cannot be written, or a full disk
        say_once(f"{source.name}: not compiled, the run goes on in Python ({str(error).splitlines()[0]})")
        return None


def _compile(command: list[str], source: Path, library: Path) -> None:
    """Into ``library``, which appears whole or not at all."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        built = Path(work, library.name)
        done = subprocess.run([*command, str(source), "-o", str(built), "-lm"], capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line] or ["it says nothing"]
            raise RuntimeError(f"{Path(command[0]).name}: {said[0]}")
        descriptor = os.open(built, os.O_RDONLY)
        os.fsync(descriptor)  # a library that is torn by a power cut can crash the interpreter
        os.close(descriptor)
        os.replace(built, library)


def processor() -> bytes:
    """What this one can do, as Linux says it; elsewhere nothing. What was compiled for one may not run on another."""
    said = Path("/proc/cpuinfo")
    lines = said.read_text().splitlines(True) if said.exists() else []
    # "flags" of Intel and AMD, "Features" of ARM
    return "".join(line for line in lines if line.startswith(("flags", "Features"))).encode()
