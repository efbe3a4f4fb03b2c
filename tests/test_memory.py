"""Whole runs of a policy with memory: what only memory can solve is learned, and everything else about a run holds."""

import math
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

import ppo.train
from ppo import evaluate, export
from ppo.buffer.prepare import Prepare
from ppo.config.options import ConfigError
from ppo.evaluate import play
from ppo.run import checkpoint
from ppo.run.assemble import assemble
from ppo.run.policy import restored
from tests.envs.toy import Restless
from tests.run.test_resume import assert_same, go  # noqa: F401  a fixture

GRU = ("network=gru", "network.hidden=16", "network.chunk=16")
CUE = ("env.task=cue", "num_envs=32", "minibatch_size=512", "epochs=10", "total_steps=8192", "lr.value=1e-2")
SMALL = ("network=gru", "network.hidden=8", "network.chunk=8", "lr.value=1e-2")
SHORT = ("env.task=clock", *SMALL)  # episodes of ten steps
PENDULUM = ("env=gym", "env.id=Pendulum-v1", "action=tanh", "normalise.obs=true", "normalise.reward=true")


@pytest.mark.parametrize(
    "network",
    [(), pytest.param(("network=lstm", "lr.value=2e-2"), marks=pytest.mark.slow)],
    ids=["gru", "lstm"],
)
def test_a_cue_is_remembered_until_it_is_asked_for(finished, network):
    """Return 1; half of that for who forgets."""
    rows = finished(*CUE, *GRU, *network, "eval.every=0", "eval.episodes=20").rows
    assert rows[-1]["eval/return"] > 0.9 and rows[0]["train/return"] < 0.7
    assert max(row["check/first_log_ratio"] for row in rows) < 1e-4 and max(row["check/acting"] for row in rows) < 1e-4


@pytest.mark.slow
def test_without_memory_it_is_not(finished):
    rows = finished(*CUE, "eval.every=0", "eval.episodes=20").rows
    assert max(row["train/return"] for row in rows) < 0.7


UPDATES = {
    "rollback": ("stop=rollback", "target_kl=0.01", "norm=ema"),
    "minibatch, k3": ("stop=minibatch", "target_kl=0.01", "kl=k3", "norm=robust"),
    "trpo": ("objective=trpo", "target_kl=0.01", "norm=group"),
    "spo": ("objective=spo",),
    "truly": ("objective=truly", "norm=none"),
    "penalty": ("penalty=adaptive", "clip=none", "target_kl=0.01", "norm=minibatch"),
    "quantiles": ("value=quantile", "recompute_advantage=true"),
    "rpo": ("rpo=0.1", "coef.entropy=0.01"),
    "columns": ("env=gym", "env.id=Pendulum-v1", "observe.actor=[0,2]"),
    "no columns": ("env=gym", "env.id=Pendulum-v1", "network.actor=[]", "network.critic=[]"),
    "reference": ("reference=initial", "reference.held_out=20", "reference.kl=exact"),
    "squashed": ("action=tanh", "network.squash=true", "coef.entropy=0.01"),
    "lstm": ("network=lstm", "stop=rollback", "target_kl=0.01"),
    "lstm, trpo": ("network=lstm", "objective=trpo", "target_kl=0.01"),
    "chunk of one": ("network.chunk=1",),
    "one chunk": ("network.chunk=32",),
}


@pytest.mark.parametrize("words", UPDATES.values(), ids=UPDATES)
def test_every_kind_of_update_begins_with_ratio_1_and_moves_the_policy(trained, words):
    rows, tensors = trained(*(SMALL if "env=gym" in words else SHORT), *words)
    assert len(rows) == 2
    for row in rows:
        assert row["check/first_log_ratio"] < 1e-4 and abs(row["check/first_kl"]) < 1e-7 and row["check/acting"] < 1e-4
        assert 0 < row["kl/final"] < 1 and math.isfinite(row["loss/value"])
    assert rows[-1]["eval/episodes"] == 2 and torch.isfinite(tensors["learner.params"]).all()


def test_parts_of_a_minibatch_have_the_gradient_of_the_whole(trained):
    """To rounding, through a run."""
    (rows, whole), (parts_rows, parts) = (trained(*SHORT, f"micro_batches={n}", name=f"run{n}") for n in (1, 4))
    torch.testing.assert_close(whole["learner.m"], parts["learner.m"], rtol=1e-3, atol=1e-6)
    assert rows[-1]["kl/final"] == pytest.approx(parts_rows[-1]["kl/final"], rel=1e-3)


@pytest.mark.parametrize(
    "words",
    [(), pytest.param(("reference=initial", "reference.held_out=8", "normalise.warmup=true"), marks=pytest.mark.slow)],
    ids=["plain", "reference"],
)
def test_a_run_that_was_cut_off_within_an_episode_goes_on_bit_for_bit(go, tmp_path, words):  # noqa: F811
    """The memory of policy and reference is in the checkpoint."""
    long = (
        "total_steps=512",
        "eval.every=256",
        *PENDULUM,
        "network=gru",
        "network.hidden=8",
        "network.chunk=8",
        *words,
    )
    whole = go(*long, name="whole")
    for cut in (3, 2, None):
        parts = go(*long, name="parts", cut=cut)
    assert parts == whole
    assert_same(tmp_path / "whole", tmp_path / "parts")
    tensors, _ = checkpoint.load(checkpoint.find(tmp_path / "parts"))
    assert tensors["memory"].shape == (4, 16) and tensors["memory"].any(1).all()
    assert ("recalled" in tensors) == bool(words)  # and after a first rollout of which nothing was learned


FEW = ("num_steps=4", "minibatch_size=16", "network=gru", "network.hidden=8", "network.chunk=4", "total_steps=32")
FROZEN = (*FEW, "epochs=1", "eval.episodes=0", "reference=initial", "lr.value=1e-12")


def test_a_reference_that_the_policy_has_not_left_remembers_what_the_policy_does(trained):
    """From rollout to rollout: no episode ends in these two."""
    _, tensors = trained(*FROZEN, "env=gym", "env.id=Pendulum-v1")
    assert tensors["memory"].any(1).all()
    torch.testing.assert_close(tensors["recalled"], tensors["memory"], rtol=0, atol=1e-5)


def test_a_run_that_resumes_with_new_episodes_begins_them_without_memory(go, tmp_path, monkeypatch):  # noqa: F811
    """Neither policy nor reference knows anything of them, whatever they remembered of the old ones."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Restless-v0", partial(Restless, 0, 50))
    words = (*FROZEN, "env=gym", "env.id=Restless-v0")
    go(*words, name="run", cut=2)
    tensors, _ = checkpoint.load(checkpoint.find(tmp_path / "run"))
    assert tensors["memory"].any(1).all() and tensors["recalled"].any(1).all()
    begun, rolled, prepare = [], ppo.train.rolled, Prepare.__call__
    monkeypatch.setattr(ppo.train, "rolled", lambda *args: begun.append(args[3].clone()) or rolled(*args))
    monkeypatch.setattr(Prepare, "__call__", lambda *args: begun.append(args[5].clone()) or prepare(*args))
    go(*words, "exact_resume=false", name="run")
    memory, recalled = begun
    assert memory.shape == recalled.shape == (4, 16) and not memory.any() and not recalled.any()


def test_new_episodes_begin_without_memory(config):
    """Of what was remembered in other ones nothing is true any more."""
    parts = assemble(config(*SHORT))
    parts.envs.close()
    assert parts.start.memory.shape == (4, 16) and not parts.start.memory.any() and parts.start.recalled == ()


def test_a_policy_is_evaluated_episode_by_episode(finished, capsys):
    """In however many worlds, most likely or sampled actions; and filmed or not, from the command line."""
    run = finished(*CUE, *GRU, "eval.every=0", "eval.episodes=20")
    path, returns = checkpoint.find(run.folder), []
    for worlds in (3, 6):
        with restored(path, worlds) as policy, torch.no_grad():
            returns.append(play(policy.envs, policy, 7, 6)[0])
            assert play(policy.envs, policy.sampled(0), 7, 6)[0].mean() > 0.6
    assert np.array_equal(*returns) and returns[0].mean() == 1
    evaluate.main([str(run.folder), "--episodes", "3"])
    assert "return 1.00" in capsys.readouterr().out


@pytest.mark.slow
def test_the_exported_policy_remembers_as_well(finished, tmp_path):
    """A whole episode at a time, each row its own; the actor's memory is all that the file needs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = finished(*CUE, *GRU, "eval.every=0", "eval.episodes=20")
    said = export.export(run.folder, tmp_path / "policy.onnx", observations=100)
    assert said["memory"] == 16 and said["max_difference"] < 1e-5 and said["observations"] >= 100
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")

    def act(obs, memory):
        memory = memory if len(memory) else np.zeros((len(obs), 16), np.float32)
        return session.run(["action", "next_memory"], {"obs": obs.numpy(), "memory": memory})

    with restored(checkpoint.find(run.folder), 5) as policy, torch.no_grad():
        expected = play(policy.envs, policy, 7)
        np.testing.assert_array_equal(play(policy.envs, act, 7), expected)


@pytest.mark.slow
def test_an_exported_actor_with_memory_takes_the_columns_that_it_sees(finished, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = finished(*SMALL, *PENDULUM, "observe.actor=[0,2]")
    said = export.export(run.folder, tmp_path / "policy.onnx", observations=40)
    assert (said["memory"], said["columns"]) == (8, [0, 2]) and said["max_difference"] < 1e-5


def test_another_run_continues_from_a_policy_with_memory_or_stays_near_it(finished, trained, config):
    run = finished(*SHORT)
    rows, _ = trained(*SHORT, f"init={run.folder}", "total_steps=128", name="init")
    assert rows[0]["check/first_log_ratio"] < 1e-4
    words = ("reference=checkpoint", f"reference.run={run.folder}", "reference.held_out=20")
    for learner in (SHORT, ("env.task=clock",)):  # also of a policy without
        rows, tensors = trained(*learner, *words, name=f"pulled{len(learner)}")
        assert rows[-1]["reference/kl"] > 0 and rows[-1]["reference/kl_held_out"] > 0 and "recalled" in tensors
    with pytest.raises(ConfigError, match=r"^init="):
        assemble(config("env.task=clock", f"init={run.folder}"))
