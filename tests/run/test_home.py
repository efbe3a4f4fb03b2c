"""No home, or one that cannot be written: one line, and a place for what libraries keep."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import os
from pathlib import Path
from ppo.run import home
home.settle()
print(Path.home(), os.environ["XDG_CACHE_HOME"], Path(os.environ["XDG_CACHE_HOME"]).is_dir())
"""


@pytest.mark.parametrize("home", ["/proc/1", "/nowhere", None])
def test_caches_find_a_place_where_there_is_no_home(home):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | ({"HOME": home} if home else {})
    program = PROGRAM
    if home is None:  # as for a user whom the system does not know
        program = "import os, pwd\ndef unknown(uid): raise KeyError\npwd.getpwuid = unknown\n" + PROGRAM
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    own, cache, there = done.stdout.split()
    assert there == "True" and (own == home) == (home == "/proc/1")
    assert done.stderr.count("\n") == 1 and "not kept" in done.stderr
    assert not os.path.exists(cache)  # gone with the process
