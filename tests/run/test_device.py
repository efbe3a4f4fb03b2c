"""Whole runs in worlds on a device: trained, evaluated, resumed and examined as every other."""

import math

import numpy as np
import pytest
import torch

import ppo
from envs.base import NotFinite
from envs.batched.pendulum import Pendulum
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


@pytest.fixture
def planted(monkeypatch):
    """A pendulum breaks that swings over one edge; how many did in each step."""
    found, move = [], Pendulum.move

    def breaking(task, state, action):
        after, *rest = move(task, state, action)
        broken = (state[:, 0] < 3.2) & (after[:, 0] >= 3.2)
        found.append(int(broken.sum()))
        return torch.where(broken[:, None], math.nan, after), *rest

    monkeypatch.setattr(Pendulum, "move", breaking)
    return found


@pytest.mark.parametrize("words", [(), GRU], ids=["mlp", "gru"])
def test_a_world_that_breaks_costs_its_sample_and_not_the_run(planted, trained, capsys, words):
    rows, tensors = trained(*BATCHED, *words, "num_envs=16", "total_steps=2048", "eval.episodes=0")
    counted = [row["env/nonfinite"] for row in rows]
    assert counted == [sum(planted[i : i + 32]) for i in range(0, 128, 32)] and sum(counted) > 4
    assert all(torch.isfinite(x).all() for x in tensors.values()) and all(row["update/stop"] == "none" for row in rows)
    assert all(row["check/first_log_ratio"] < 1e-4 for row in rows) and not any("train/return" in row for row in rows)
    assert tensors["obs_moments.count"] == 2048 - sum(counted)
    assert capsys.readouterr().out.count("env.on_nonfinite=stop ends the run there") == 1


def test_an_evaluation_in_which_one_breaks_is_given_up_and_training_goes_on(planted, trained, capsys):
    rows, _ = trained(*BATCHED, "num_envs=16", "total_steps=1024", "eval.every=512", "eval.episodes=8")
    assert len(rows) == 2 and not any("eval/return" in row for row in rows)
    assert "in an evaluation: batched pendulum: the observation of sub-environment" in capsys.readouterr().out


def test_or_ends_it_where_that_is_asked_for(planted, trained):
    with pytest.raises(NotFinite, match="batched pendulum: the next_obs of sub-environment"):
        trained(*BATCHED, "num_envs=16", "total_steps=2048", "eval.episodes=0", "env.on_nonfinite=stop")


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
