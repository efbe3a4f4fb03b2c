"""wandb online, against a server of our own on this machine that speaks what the client needs."""

import json
import re
import time

import pytest

from ppo.config.options import option
from ppo.logging.base import Forgiving, Run
from tests.logging.server import KEY

pytest.importorskip("wandb")


def wandb(run, **given):
    return option("logger", "wandb", **given)(run)


def test_a_logged_in_machine_is_online(tmp_path, server, capfd):
    ids = []
    for arm, failed in (("exact", False), ("k3", True)):
        logger = wandb(Run(tmp_path / arm, arm, {"kl": arm}, "sweep", f"kl={arm}"), tags=["ab"])
        logger.log({"update": 1, "kl/exact": 0.25}, 64)
        logger.log({"update": 2, "kl/exact": 0.5}, 128)
        logger.close({"eval/best": 9.0}, failed)
        ids.append(logger.run_id)
    assert len(set(ids)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [f"wandb: online, {server.url}/me/exactkl/runs/{id}" for id in ids]
    assert set(server.runs) == set(ids)
    for id, arm, code in zip(ids, ("exact", "k3"), (0, 1), strict=True):
        run = server.runs[id]
        assert (run["displayName"], run["groupName"], run["jobType"], run["tags"]) == (
            arm,
            "sweep",
            f"kl={arm}",
            ["ab"],
        )
        assert json.loads(run["config"])["kl"]["value"] == arm
        assert [(row["env_steps"], row["kl/exact"]) for row in server.history[id]] == [(64, 0.25), (128, 0.5)]
        assert server.summary[id]["eval/best"] == 9
        assert server.exit[id] == code
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_resumed_run_goes_on_under_its_id(tmp_path, server):
    """Its rows follow those that are there."""
    first = wandb(Run(tmp_path / "run", "a", {"seed": 1}))
    first.log({"update": 1, "kl/exact": 0.25}, 64)
    first.close({}, failed=True)
    again = wandb(Run(tmp_path / "run", "a", {"seed": 1}, id=first.run_id))
    again.log({"update": 2, "kl/exact": 0.5}, 128)
    again.close({}, failed=False)
    assert again.run_id == first.run_id and set(server.runs) == {first.run_id}
    rows = server.history[first.run_id]
    assert [row["env_steps"] for row in rows] == [64, 128]
    assert server.exit[first.run_id] == 0


@pytest.mark.slow
def test_a_server_that_falls_silent_costs_neither_the_run_nor_its_end(tmp_path, server, capfd):
    logger = Forgiving(wandb(Run(tmp_path / "run", "a", {}), finish_timeout=1.0))
    capfd.readouterr()
    server.deaf.set()
    began = time.monotonic()
    for step in range(100):
        logger.log({"update": step}, step)
    assert time.monotonic() - began < 2
    logger.close({}, failed=False)
    assert time.monotonic() - began < 15
    expected = r"wandb: failed, the run goes on: upload not finished; do it later with: wandb sync \S+\n"
    assert re.fullmatch(expected, capfd.readouterr().err)
