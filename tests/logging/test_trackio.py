"""Trackio: rows reach its database; without the package a hint names the extra."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ppo.config.extras import needs
from ppo.config.options import option
from ppo.logging.base import LoggerError, Run

SCRIPT = """
from pathlib import Path
from ppo.logging.base import Run
from ppo.config.options import option
arms = ("exact", "k3")
loggers = [option("logger", "trackio")(Run(Path("run"), arm, {"kl": arm}, "sweep", f"kl={arm}")) for arm in arms]
Path("film.mp4").write_bytes(b"not really a film")
for arm, logger in zip(arms, loggers):
    logger.video("eval/video", Path("film.mp4"), 64)
    logger.log({"update": 1, "kl/exact": 0.25, "update/stop": "none"}, 64)
    logger.log({"update": 2, "kl/exact": 0.5, "train/return": float("nan")}, 128)
    logger.close({"eval/best": 9.0}, failed=arm == "k3")
    print(logger.run_id)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is an extra")
def test_two_runs_of_one_process_are_read_back(tmp_path):
    # A process of its own: trackio reads its folder once, when it is imported.
    environment = os.environ | {
        "TRACKIO_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HF_HUB_OFFLINE": "1",
    }

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )

    def get(*arguments):
        script = "import sys; from trackio.cli import main; sys.argv[0] = 'trackio'; main()"
        return json.loads(run("-c", script, "get", *arguments, "--project", "exactkl", "--json").stdout)

    result = run("-c", SCRIPT)
    assert len(set(result.stdout.split())) == 2  # two ids and nothing else
    assert result.stderr == "trackio: look at it with: trackio show --project exactkl\n" * 2

    for arm in ("exact", "k3"):
        values = get("metric", "--run", arm, "--metric", "kl/exact")["values"]
        assert [(value["step"], value["value"]) for value in values] == [(64, 0.25), (128, 0.5)]
        config = get("run", "--run", arm)["config"]
        assert (config["kl"], config["run"]["job_type"], config["_Group"]) == (arm, f"kl={arm}", "sweep")
    assert [film.read_bytes() for film in tmp_path.rglob("media/**/*.mp4")] == [b"not really a film"] * 2
    (alert,) = get("alerts")["alerts"]
    assert (alert["run"], alert["title"]) == ("k3", "run failed")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(LoggerError, match="^" + re.escape(needs("logger=trackio", "trackio")) + "$"):
        option("logger", "trackio")(Run(tmp_path, "a", {}))
