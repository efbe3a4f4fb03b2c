"""Model files of gymnasium, compiled without what MuJoCo has to say of their age."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import mujoco

_MUJOCO: Any = mujoco  # no type checker sees the names that C gives it


@contextmanager
def compiling() -> Generator[None, None, None]:
    """Meanwhile MuJoCo's warnings of words that a later release will no longer know are left out: the files are
    gymnasium's, nobody here can change them, and every sub-environment compiles one. All other warnings are said."""

    def hear(text: str) -> None:
        if "is deprecated" not in text:
            print(f"WARNING: {text}", file=sys.stderr, flush=True)

    before = _MUJOCO.get_mju_user_warning()
    _MUJOCO.set_mju_user_warning(hear)
    try:
        yield
    finally:
        _MUJOCO.set_mju_user_warning(before)
