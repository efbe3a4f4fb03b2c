"""wandb: really run offline and read back; no prompt, no hang, no key in any file."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo.config.options import ConfigError, option
from ppo.logging.base import LoggerError, Run

sdk = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("logged_out")

KEY = "0123456789abcdef" * 3


def wandb(run, **given):
    return option("logger", "wandb", **given)(run)


@pytest.fixture
def deaf():
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def records(folder):
    """The records of the one offline run below ``folder``, by type."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    found = {}
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def test_parts_of_a_run_that_are_kept_offline_overwrite_nothing(tmp_path):
    """Two of one id, uploaded one after the other, would each take the place of the one before."""
    first = wandb(Run(tmp_path, "a", {}))
    first.close({}, failed=True)
    again = wandb(Run(tmp_path, "a", {}, id=first.run_id))
    again.close({}, failed=False)
    assert again.run_id != first.run_id
    assert all([*tmp_path.glob(f"wandb/offline-run-*-{logger.run_id}")] for logger in (first, again))


def test_a_film_is_kept_as_it_is(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"not really a film")
    logger = wandb(Run(tmp_path / "run", "a", {}))
    logger.video("eval/video", tmp_path / "film.mp4", 64)
    logger.close({}, failed=False)
    (kept,) = (tmp_path / "run").rglob("*.mp4")
    assert kept.read_bytes() == b"not really a film"


def test_two_offline_runs_of_one_process_are_read_back_whole(tmp_path, capfd):
    started = [
        wandb(Run(tmp_path / arm, arm, {"kl": arm, "coef": {"kl": 0.5}}, "sweep 7", f"kl={arm}"), tags=["mine", "mine"])
        for arm in ("exact", "k3")
    ]
    assert started[0].run_id != started[1].run_id
    for index, logger in enumerate(started):
        logger.log({"update": 1, "kl/exact": 0.25, "update/stop": "none"}, 64)
        logger.log({"update": 2, "kl/exact": 0.5, "train/return": float("nan")}, 128)
        logger.close({"eval/best": 9.0}, failed=index == 1)
    out, err = capfd.readouterr()
    assert out == ""
    line = (
        rf"wandb: offline \(not logged in, see `wandb login`\); upload with: wandb sync {tmp_path}/\w+/wandb/offline\S+"
    )
    assert re.fullmatch(f"{line}\n{line}\n", err)

    for arm, logger, exit_code in zip(("exact", "k3"), started, (0, 1), strict=True):
        found = records(tmp_path / arm)
        (run,) = found["run"]
        assert run["run_id"] == logger.run_id
        assert run["project"] == "exactkl"
        assert run["display_name"] == arm
        assert run["run_group"] == "sweep 7"
        assert run["job_type"] == f"kl={arm}"
        assert run["tags"] == ["mine"]
        config = run["config"]["update"]
        assert (config["kl"], config["coef"]) == (arm, {"kl": 0.5})
        first, second = (record["item"] for record in found["history"])
        assert (first["env_steps"], first["kl/exact"], first["update/stop"]) == (64, 0.25, "none")
        assert (second["env_steps"], second["train/return"]) == (128, "NaN")
        assert {"glob_name": "*", "step_metric": "env_steps"}.items() <= found["metric"][1].items()
        assert {"eval/best": 9} in [record["update"] for record in found["summary"]]
        assert found["exit"][0].get("exit_code", 0) == exit_code
        assert str(Path(err.splitlines()[exit_code].split("wandb sync ")[1]).parent) == str(tmp_path / arm / "wandb")


def test_options_take_the_place_of_what_a_multirun_derives(tmp_path):
    logger = wandb(
        Run(tmp_path / "run", "a", {}, "sweep", "arm"), group="mine", job_type="other", project="p", tags=["t" * 70]
    )
    logger.close({}, failed=False)
    (run,) = records(tmp_path / "run")["run"]
    assert (run["run_group"], run["job_type"], run["project"]) == ("mine", "other", "p")
    assert [len(tag) for tag in run["tags"]] == [64] and run["tags"][0].startswith("ttt")  # a longer one is refused


@pytest.mark.slow
def test_a_server_that_never_answers_costs_the_timeout_and_no_key_is_written(tmp_path, deaf, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", deaf)
    began = time.monotonic()
    logger = wandb(Run(tmp_path / "run", "a", {}), timeout=1.0)
    assert time.monotonic() - began < 10
    logger.log({"update": 1}, 64)
    logger.close({}, failed=False)
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"wandb: offline \(.+\); upload with: wandb sync \S+\n", err)
    assert len(records(tmp_path / "run")["history"]) == 1
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in err


def test_wandb_mode_is_followed(tmp_path, deaf, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", deaf)
    monkeypatch.setenv("WANDB_MODE", "offline")
    began = time.monotonic()
    logger = wandb(Run(tmp_path / "run", "a", {}))
    logger.close({}, failed=False)
    assert time.monotonic() - began < 10  # the server was not waited for
    assert records(tmp_path / "run")["run"]

    sdk.teardown()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = wandb(Run(tmp_path / "other", "a", {}))
    logger.log({"update": 1}, 64)
    logger.close({}, failed=False)
    assert logger.run_id is None
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_is_one_clear_line(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", "a", {})
    with pytest.raises(ConfigError, match=r"^logger\.mode=onlin: must be one of auto, online, .*$"):
        wandb(run, mode="onlin")
    with pytest.raises(LoggerError, match=r"^logger\.mode=online is not possible: not logged in.*$"):
        wandb(run, mode="online")
    with pytest.raises(LoggerError, match=r"^logger=wandb cannot start: .*project name.*$"):
        wandb(run, project="a/b")
    sdk.teardown()
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(LoggerError, match=r"^logger=wandb cannot start: .*mode Input should be 'online'.*$"):
        wandb(run)


def test_a_terminal_is_never_asked_for_a_key(tmp_path):
    script = (
        "from pathlib import Path; from ppo.logging.base import Run; from ppo.config.options import option;"
        "import sys; assert sys.stdin.isatty() and sys.stderr.isatty();"
        "option('logger', 'wandb')(Run(Path('run'), 'a', {})).close({}, False)"
    )
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=child,
        stdout=child,
        stderr=child,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"},
    )
    os.close(child)
    try:
        assert process.wait(30) == 0  # a prompt waits for ever
    finally:
        process.kill()
        received = os.read(parent, 65536).decode()
        os.close(parent)
    assert received.startswith("wandb: offline (not logged in")
    assert received.count("\n") == 1


def test_wandb_is_imported_only_where_it_is_used():
    script = "import sys, ppo.logging.wandb; sys.exit('wandb' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    )
