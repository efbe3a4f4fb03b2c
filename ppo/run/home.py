"""A place for what libraries keep in a person's home directory, where there is none, or none that can be written."""

import atexit
import getpass
import os
import shutil
import sys
import tempfile
from pathlib import Path

_KEPT_AT_HOME = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
_KEPT_AT_HOME += ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")


def settle() -> None:
    """Where HOME is missing or cannot be written (a container, a batch system, another user's account), let libraries keep
    their caches and settings in a temporary folder until this process ends, and say so in one line."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    try:
        home = Path.home()
    except RuntimeError:
        home = None
    if home and _writable(home):
        return
    place = tempfile.mkdtemp(prefix="exactkl-home-")
    atexit.register(_remove, place, os.getpid())
    if home is None or not home.is_dir():
        os.environ["HOME"] = place
    for name in _KEPT_AT_HOME:
        os.environ.setdefault(name, place)
    print(f"no home directory that can be written ({home}): compiled steps and settings are not kept", file=sys.stderr)


def _writable(folder: Path) -> bool:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _remove(place: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(place, ignore_errors=True)
