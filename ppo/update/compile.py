"""Compile the gradient step where it pays, and never let a compiler's trouble end a run."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

PAYS_FROM = 20_000  # gradient steps: compiling costs some 15 s, a compiled step saves 1-4 ms


def compile_step(step: Callable, choice: str, planned_steps: int) -> Callable:
    """``step`` compiled whole, or as it is.

    choice: "true", "false", or "auto": where the run plans enough steps to pay for it and a C++ compiler is there.
    A compilation that fails (no compiler, corrupt cache, unsupported code) is told in one line and the run goes on
    eagerly: the same function, the same numbers to rounding.
    """
    if choice == "false" or (choice == "auto" and (planned_steps < PAYS_FROM or not _has_compiler())):
        return step
    # A cache of our own: a compile that is killed can leave a torn file there, and that must not break other programs.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    compiled = torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})
    chosen = None

    def first_compiled(*args):
        nonlocal chosen
        if chosen is None:
            try:
                result = compiled(*args)
                chosen = compiled
                return result
            except Exception as error:  # whatever a compiler raises; the step is pure, so nothing has happened yet
                shutil.rmtree(os.environ["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"compile: failed, the run goes on without it ({why})", file=sys.stderr, flush=True)
                chosen = step
        return chosen(*args)

    return first_compiled


def cache_folder() -> Path:
    """Where compiled steps are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proximal" / "compile"


def _has_compiler() -> bool:
    return shutil.which(os.environ.get("CXX", "g++")) is not None
