"""Whole runs in worlds on a device: trained, evaluated, resumed and examined as every other."""

import math

import numpy as np
import pytest

import ppo
from ppo import evaluate
from ppo.config.options import ConfigError
from ppo.doctor.__main__ import environment_of
from ppo.doctor.environment import examine
from ppo.run import checkpoint, ranks
from ppo.run.assemble import assemble
from ppo.run.evaluation import evaluating
from ppo.run.machine import resolve
from ppo.run.policy import restored
from tests.run.test_resume import assert_same, go  # noqa: F401  a fixture

BATCHED = ("env=batched", "env.task=pendulum", "normalise.obs=true", "normalise.reward=true")
GRU = ("network=gru", "network.hidden=4", "network.chunk=8")
LONG = ("total_steps=640", "eval.every=256", "checkpoint.every=256")  # five updates


def test_it_is_trained_and_evaluated_in_as_many_worlds_as_episodes(finished):
    run = finished(*BATCHED, "num_envs=64", "num_steps=4", "total_steps=1024", "eval.episodes=20", "norm=group")
    last = run.rows[-1]
    assert last["eval/episodes"] == 20 and last["eval/length"] == 200 and last["check/first_log_ratio"] < 1e-4
    assert {"envs.state", "envs.key", "envs.total", "envs.length", "envs.episode"} <= set(run.tensors)
    assert run.tensors["envs.state"].shape == (64, 2)
    with restored(checkpoint.find(run.folder), 30) as policy:
        assert policy.envs.num_envs == 30 and policy.envs.device is None
        returns, lengths = evaluate.play(policy.envs, policy, 1_000_000, 20)
        again, _ = evaluate.play(policy.envs, policy, 1_000_000, 20)
    assert returns.mean() == pytest.approx(last["eval/return"]) and np.array_equal(returns, again)
    with ppo.load(run.folder) as loaded:
        assert loaded(np.zeros(3, np.float32)).shape == (1,)
        assert loaded.name == "batched pendulum"


@pytest.mark.parametrize("words", [(), pytest.param(GRU, marks=pytest.mark.slow)], ids=["mlp", "gru"])
def test_a_run_that_was_cut_off_continues_to_the_bit(go, tmp_path, words):  # noqa: F811
    words = (*BATCHED, *LONG, *words)
    go(*words, name="whole")
    go(*words, name="cut", cut=3)
    go(*words, name="cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_workers_are_none_and_nothing_is_tried(config, monkeypatch):
    monkeypatch.setattr("ppo.config.auto.workers", lambda *_: 1 / 0)
    assert resolve(config(*BATCHED, "workers=auto")).workers == 0


def test_several_ranks_are_refused(config, monkeypatch):
    monkeypatch.setattr(ranks, "_size", 2)
    with pytest.raises(ConfigError, match="one process steps all of them"):
        assemble(config(*BATCHED))


def test_held_out_states_are_visited_there(finished):
    rows = finished(*BATCHED, "reference=initial", "reference.held_out=40", "total_steps=256").rows
    assert all(math.isfinite(row["reference/kl_held_out"]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["reacher"])
def test_the_doctor_finds_no_fault_in_it(task):
    name, make, config = environment_of(["batched", f"env.task={task}"])
    verdicts = examine(make, config, seconds=5)
    assert name == f"batched {task}" and {k: v for k, v in verdicts.items() if v.level == "fault"} == {}
    assert verdicts["state"].level == "ok" and verdicts["autoreset"].level == "ok"


def test_evaluations_of_a_host_world_stay_in_twelve(config):
    cfg = config("env=gym", "env.id=Pendulum-v1", "eval.episodes=20")
    made = []
    evaluation = evaluating(cfg, assemble(cfg), None)
    with evaluation:
        made.append(evaluation._make(20).num_envs)
    assert made == [12]
