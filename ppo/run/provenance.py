"""Where a run comes from: code, versions, machine and command line, so that it can be explained and repeated."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from ppo.update.fingerprint import sources


def provenance(own: Iterable[str] = ()) -> dict:
    """Plain facts for the run folder; takes a few tens of milliseconds.

    ``own``: packages of the user's, of whose code a digest each is told; see ``fingerprint.sources``.

    ``git``: ``commit`` and ``dirty`` (uncommitted or new files) of the checkout this package lies in, None where it is
    installed without one. ``versions``: of every distribution of this Python. ``python``, ``platform``, ``cpu_count``
    (what this process may use), ``command`` (as typed, quoted for a shell). No environment variables: they hold keys.
    """
    return {
        "git": _git(Path(__file__).resolve()),
        "versions": _versions(),
        "own": sources(own),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "command": shlex.join(sys.orig_argv),
    }


@cache
def _versions() -> dict[str, str]:
    return dict(sorted((d.name, d.version) for d in distributions() if d.name))


def _git(file: Path) -> dict | None:
    """Commit and dirty flag of the checkout that tracks ``file``; None without git or when no checkout does."""
    # A hook's GIT_DIR would point at another repository; reading must not take the index lock.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(file.parent), *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # a virtual environment inside a checkout is not part of it
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
