"""A policy that wandb keeps, and a run that starts from it: against a server of our own on this machine."""

import json

import pytest
import torch

from ppo import evaluate
from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.artifact import located, pinned
from ppo.run.launch import absolute
from ppo.train import train

pytest.importorskip("wandb")
KEPT = ("logger=wandb", "logger.artifacts=true", "env.task=target", "total_steps=128")


@pytest.fixture
def go(config, tmp_path, server, monkeypatch):
    """Train by words, wandb's server beside it; the run's folder. ONNX is not exported, which takes seconds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("ppo.run.sink.export", lambda *_, **__: 1 / 0)

    def run(*words: str, name: str = "run"):
        train(absolute(config(*words)), Run(tmp_path / name, name, {}))
        return tmp_path / name

    return run


def weights(path):
    return checkpoint.load(path)[0]["learner.params"]


def test_a_run_starts_from_what_an_earlier_one_left_with_wandb(go, server, capfd):
    before = go(*KEPT)
    said = capfd.readouterr()
    assert "logger.artifacts=true: without an ONNX file: division by zero" in said.out
    name = next(word for word in said.err.split() if word.startswith("init=")).removeprefix("init=")
    (made,) = server.artifacts.made
    assert name == f"wandb:me/exactkl/{made['name']}" and json.loads(made["metadata"])["env_steps"] == 128
    files = {path.split("/", 4)[4]: body for path, body in server.artifacts.uploaded.items() if "/files/" in path}
    assert set(files) == {"config.yaml", "checkpoints/latest.safetensors", "checkpoints/best.safetensors"}
    assert all(body == (before / file).read_bytes() for file, body in files.items())

    after = go("logger=none", "env.task=target", f"init={name}", "total_steps=128", "lr.value=1e-9", name="after")
    torch.testing.assert_close(weights(checkpoint.find(after)), weights(checkpoint.find(before)), atol=1e-6, rtol=0)
    # What the alias meant is what the run keeps to, whatever becomes of the alias.
    assert checkpoint.load(checkpoint.find(after))[1]["config"]["init"] == f"{name}:v0"

    server.shutdown()  # what is here is not asked for again
    words = ("reference=checkpoint", f"reference.run={name}:v0", "reference.coef=1.0", "env.task=target")
    assert go("logger=none", *words, name="pulled").exists()
    evaluate.main([f"{name}:v0", "--episodes", "1"])
    assert "return " in capfd.readouterr().out


@pytest.mark.slow
def test_latest_is_what_was_left_last(go, server):
    first, second = go(*KEPT), go(*KEPT, "seed=2", name="second")
    server.artifacts.made[1]["name"] = (name := server.artifacts.made[0]["name"])
    path = f"wandb:me/exactkl/{name}"
    assert [pinned(path), pinned(f"{path}:v0")] == [f"{path}:v1", f"{path}:v0"]
    for found, run in ((located(path), second), (located(f"{path}:v0"), first)):
        assert torch.equal(weights(checkpoint.find(found)), weights(checkpoint.find(run)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandb:exactkl/x", "needed is wandb:ENTITY/PROJECT/NAME"),
        ("wandb:me/../x:v0", "needed is wandb:ENTITY/PROJECT/NAME"),
        ("wandb:me/exactkl/x:..", "needed is wandb:ENTITY/PROJECT/NAME"),
        ("wandb:me/exactkl/nothing", "not found"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(go, name, said, tmp_path):
    with pytest.raises(ConfigError, match="^[^\n]*$") as error:
        go("logger=none", f"init={name}")
    assert said in str(error.value) and name in str(error.value) and not (tmp_path / "run").exists()


def test_who_is_not_logged_in_is_told_so_and_not_asked(logged_out):
    with pytest.raises(ConfigError, match="not logged in"):
        located("wandb:me/exactkl/policy:v0")


def test_a_file_that_would_lie_elsewhere_is_not_fetched(go, server, tmp_path):
    go(*KEPT)
    made = server.artifacts.made[0]
    manifest = json.loads(server.artifacts.uploaded[made["manifest"]])
    manifest["contents"]["../../outside"] = manifest["contents"]["config.yaml"]
    server.artifacts.uploaded[made["manifest"]] = json.dumps(manifest).encode()
    with pytest.raises(ConfigError, match="outside of its folder"):
        located(f"wandb:me/exactkl/{made['name']}:v0")
    assert not [*(tmp_path / "cache").rglob("config.yaml")]
