"""A number that is not finite: the weights stay as they were, and its bundle gives the same number again."""

import errno
import math
import tempfile
from functools import partial

import gymnasium
import pytest
import torch

from envs.base import NotFinite
from ppo.logging import jsonl
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.crash import NonFinite, describe
from ppo.train import train
from scripts import replay
from tests.envs.toy import Counter


class Late(Counter):
    """Gives ``reward`` at step ``at`` of its first episode: 40 is in the second update."""

    def __init__(self, reward, at=40):
        super().__init__(0, 1000)
        self.reward, self.at = reward, at

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, self.reward if self.clock == self.at else reward, *rest


REWARDS = {"nan": math.nan, "inf": 1e39, "huge": 1e25, "statistics": 2e153}
NOT_FINITE = [
    ("env.id=Late-nan", NotFinite, "gave a non-finite reward: nan"),
    ("env.id=Late-inf", NonFinite, "epoch 1, minibatch 1: "),
    ("env.id=Late-huge", NonFinite, "loss/value="),
    ("env.id=Late-statistics normalise.reward=true", NonFinite, "reward_scale.moments.m2"),
    ("env.id=Late-inf norm=none max_grad_norm=null", NonFinite, "advantage["),
    ("env.id=Late-fine lr.value=1e30", NonFinite, "kl/exact="),
    ("env.id=Late-inf network=gru network.hidden=4 network.chunk=8", NonFinite, "epoch 1, minibatch 1: "),
]


@pytest.fixture
def late(config, tmp_path, monkeypatch):
    """Train on a Late by command-line words."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    for name, reward in (REWARDS | {"fine": 0.0}).items():
        gymnasium.register(f"Late-{name}", partial(Late, reward))
    gymnasium.register("Late-first", partial(Late, 1e39, 129))

    def run(*words: str, name: str = "run"):
        return train(config("env=gym", "normalise.obs=true", *words), Run(tmp_path / name, name, {}))

    return run


@pytest.mark.parametrize(("words", "kind", "says"), NOT_FINITE, ids=[words for words, *_ in NOT_FINITE])
def test_a_number_that_is_not_finite_stops_the_run_and_comes_again_from_its_bundle(
    late, tmp_path, capsys, words, kind, says
):
    with pytest.raises(kind, match="finite") as error:
        late(*words.split())
    (bundle,) = tmp_path.glob("run/crash/*.safetensors")
    tensors, meta = checkpoint.load(bundle)
    assert says in describe(meta["crash"]) and meta["about"]["versions"]["torch"]
    assert kind is NotFinite or str(bundle) in str(error.value)
    if "statistics" not in words and kind is NonFinite:
        assert "batch.advantage" in tensors
    latest, _ = checkpoint.load(checkpoint.find(tmp_path / "run"))
    assert all(torch.isfinite(tensor).all() for tensor in latest.values())
    capsys.readouterr()
    assert replay.main([str(bundle)]) == 0
    kept, again = (line for line in capsys.readouterr().out.splitlines() if line.startswith(("kept:", "again:")))
    assert says in kept and says in again


def test_a_replay_that_comes_to_something_else_says_so(late, tmp_path, capsys):
    with pytest.raises(NonFinite):
        late("env.id=Late-huge")
    (bundle,) = tmp_path.glob("run/crash/*.safetensors")
    tensors, meta = checkpoint.load(bundle)
    checkpoint.save(
        bundle, tensors, meta | {"config": meta["config"] | {"env": {**meta["config"]["env"], "id": "Late-fine"}}}
    )
    assert replay.main([str(bundle)]) == 1
    assert "again: every number was finite" in capsys.readouterr().out
    checkpoint.save(bundle, tensors | {"batch.advantage": tensors["batch.advantage"] * 2}, meta)
    assert replay.main([str(bundle)]) == 1
    assert "batch: another" in capsys.readouterr().out


def test_a_replay_whose_world_raises_keeps_the_whole_traceback(late, tmp_path, capsys, monkeypatch):
    with pytest.raises(NonFinite):
        late("env.id=Late-huge")
    (bundle,) = tmp_path.glob("run/crash/*.safetensors")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Late, "step", lambda self, action: {}["left_foot"])
    assert replay.main([str(bundle)]) == 2
    line = capsys.readouterr().err
    (kept,) = tmp_path.glob("traceback-*.txt")
    assert "raised KeyError" in line and line.count("\n") == 1 and str(kept) in line and "left_foot" in kept.read_text()


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_run_that_goes_on_keeps_finite_weights(late, tmp_path, policy):
    late("env.id=Late-inf", f"on_nonfinite={policy}", "total_steps=384")
    rows = jsonl.read(tmp_path / "run" / "metrics.jsonl")
    assert [row["update/stop"] for row in rows] == ["none", "nonfinite", "none"]
    assert "advantage" in describe(checkpoint.load(next(tmp_path.glob("run/crash/*")))[1]["crash"])
    tensors, _ = checkpoint.load(checkpoint.find(tmp_path / "run"))
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.slow
def test_skip_keeps_the_steps_before_the_refused_one_and_rollback_none(late, tmp_path):
    """Without a normaliser the other minibatches know nothing of the one bad sample, the first of the second update."""
    words = ("env.id=Late-first", "num_envs=1", "num_steps=128", "norm=none")
    counts = {}
    for policy in ("skip", "rollback"):
        late(*words, f"on_nonfinite={policy}", name=policy)
        counts[policy] = checkpoint.load(checkpoint.find(tmp_path / policy))[0]["learner.count"].item()
    done = jsonl.read(tmp_path / "skip" / "metrics.jsonl")[1]["update/steps"]
    assert done > 0 and counts == {"skip": 8 + done, "rollback": 8}  # the first update: 2 epochs, 4 minibatches


def test_the_metrics_of_an_update_that_was_taken_back_are_those_of_the_policy_that_was_kept(late, tmp_path):
    """Its first step threw the policy, its second was refused: of both nothing is left."""
    few = ("num_steps=8", "total_steps=32", "minibatch_size=16", "eval.episodes=0")
    late("env.id=Late-fine", "lr.value=1e30", "max_grad_norm=null", "on_nonfinite=rollback", *few)
    (row,) = jsonl.read(tmp_path / "run" / "metrics.jsonl")
    assert row["update/stop"] == "nonfinite" and row["stop/minibatch"] == 2
    assert row["kl/final"] == row["kl/chosen"] == row["update/steps"] == row["update/epochs"] == 0


def test_a_run_keeps_three_bundles_at_most(late, tmp_path):
    late("env.id=Late-fine", "lr.value=1e30", "max_grad_norm=null", "on_nonfinite=rollback", "total_steps=640")
    assert len(jsonl.read(tmp_path / "run" / "metrics.jsonl")) == 5
    assert len(list(tmp_path.glob("run/crash/*"))) == 3


def test_a_number_that_is_not_finite_is_what_is_reported_where_its_bundle_cannot_be_written(late, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "bundle")

    monkeypatch.setattr("ppo.run.crash.write", full)
    with pytest.raises(NonFinite, match=r"not finite at epoch 1, .*; no bundle of it: cannot write bundle: No space"):
        late("env.id=Late-huge")
