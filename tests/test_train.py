"""Whole runs: known answers, the first minibatch, statistics, schedules, evaluation, and what a run leaves alone."""

import gc
import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import ppo.evaluate
import ppo.loss.value
import ppo.train
from envs.base import EnvError
from envs.probe import TASKS, probe
from ppo import cli
from ppo.buffer.collect import collect
from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import allocate
from ppo.buffer.prepare import Prepare
from ppo.config.options import option
from ppo.logging.base import Run
from ppo.network.actor_critic import widen
from ppo.network.flat import flatten
from ppo.network.normaliser import ObsNormaliser
from ppo.run import checkpoint
from ppo.run.assemble import assemble
from ppo.update.loop import update
from ppo.update.report import OffPolicyError, check_acting
from tests.envs.toy import Buttons
from tests.update.steps import turn, watched

GAMMA = 0.9


def load(tensors, obs_size=1, action_size=1, head="mlp", quantiles=1):
    build = option("network", head, actor=[16], critic=[16], activation="tanh", log_std=0.0)
    network = build(obs_size, action_size, torch.Generator())
    widen(network, quantiles)
    flatten(network).copy_(tensors["learner.params"])
    return network


# Known answers


@pytest.mark.parametrize(
    ("task", "steps", "tolerance"),
    [
        ("constant", 2048, 0.02),
        ("observation", 2048, 0.02),
        ("delay", 2048, 0.02),
        ("clock", 2048, 0.05),
        ("ending", 5120, 0.05),
    ],
)
def test_the_critic_finds_the_known_value(trained, task, steps, tolerance):
    """`clock` is a constant reward under a time limit: V = 1 / (1 - gamma) = 10, and 6.5 without the bootstrap."""
    settings = (
        f"gamma={GAMMA}",
        "lr.value=2e-2",
        "epochs=8",
        "minibatch_size=128",
        "max_grad_norm=null",
        "coef.value=1",
    )
    rows, tensors = trained(f"env.task={task}", f"total_steps={steps}", "eval.every=0", *settings)
    obs = np.array([[0.0], [1.0]] if task == "delay" else [[0.0]] if task in ("constant", "clock") else [[-1.0], [1.0]])
    with torch.no_grad():
        value = load(tensors).value(torch.tensor(obs).float()).numpy()
    np.testing.assert_allclose(value, TASKS[task].value(obs, GAMMA)[:, 0], atol=tolerance)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("mlp", ["network.log_std_min=-2"]),
        ("gsde", ["network=gsde", "network.log_std=-1"]),
        ("state_std", ["network=state_std", "network.log_std_min=-2"]),
        ("mlp", ["network.log_std_min=-2", "network.squash=true", "action=tanh", "coef.entropy=0.01"]),
    ],
    ids=["mlp", "gsde", "state_std", "squash"],
)
def test_the_actor_finds_the_best_action(trained, head, words):
    """obs / 2, within 0.1 on the whole range of observations; the deterministic return follows, -(error^2)."""
    rows, tensors = trained(
        "env.task=target", "total_steps=6144", "num_envs=8", "num_steps=64", "minibatch_size=256", "epochs=8",
        "lr.value=1e-2", "eval.every=0", "eval.episodes=20", *words,
    )  # fmt: skip
    obs = torch.linspace(-1, 1, 21)[:, None]
    with torch.no_grad():
        mean = load(tensors, head=head).policy(obs).mean
    if "action=tanh" in words:
        mean = mean.tanh()
    torch.testing.assert_close(mean, obs / 2, rtol=0, atol=0.1)
    assert rows[-1]["eval/return"] > -0.01


class Far(gymnasium.Env):
    """One step; the best action is x of an observation 1e6 + 1e-3 x."""

    observation_space = Box(-np.inf, np.inf, (1,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1.0, 1.0)
        return np.array([1e6 + 1e-3 * self.x]), {}

    def step(self, action):
        return np.array([1e6 + 1e-3 * self.x]), -float((action[0] - self.x) ** 2), True, False, {}


@pytest.mark.slow
def test_what_varies_beside_a_large_offset_is_learned(trained, monkeypatch):
    """In float32 the observations were all the same, and the best policy had a return of -1/3."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Far-v0", Far)
    words = ("total_steps=6144", "num_envs=8", "lr.value=1e-2", "epochs=8", "eval.episodes=64", "eval.every=0")
    rows, _ = trained("env=gym", "env.id=Far-v0", "normalise.obs=true", *words)
    assert rows[-1]["eval/return"] > -0.03 and rows[-1]["obs/rounded"] == 0


def test_a_discrete_task_is_learned(trained):
    """CartPole-v1, 500 at most and about 20 to begin with; every estimator and rule of an update as ever."""
    rows, _ = trained(
        "env=gym", "env.id=CartPole-v1", "network=categorical", "num_envs=8",
        "num_steps=64", "minibatch_size=128", "epochs=8", "total_steps=10240", "lr.value=3e-3", "gamma=0.98",
        "eval.every=0", "eval.episodes=10", "kl=k3", "stop=rollback", "target_kl=0.02", "coef.entropy=0.001",
    )  # fmt: skip
    assert rows[-1]["eval/return"] > 150
    for row in rows:
        assert row["check/first_log_ratio"] <= 1e-6 and row["check/acting"] <= 1e-5
        assert 0 <= row["kl/final"] <= 0.03 and 0 < row["policy/entropy"] <= math.log(2) + 1e-6
        assert not [name for name in row if name.startswith(("kl/mean_part", "kl/sigma_part", "policy/sigma"))]


def test_several_discrete_actions_are_learned_at_once(trained, monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Buttons-v0", Buttons)
    rows, _ = trained(
        "env=gym", "env.id=Buttons-v0", "network=categorical", "num_envs=16", "num_steps=32", "minibatch_size=128",
        "epochs=8", "total_steps=6144", "lr.value=1e-2", "eval.every=0", "eval.episodes=64", "stop=rollback",
        "target_kl=0.1",
    )  # fmt: skip
    assert rows[-1]["eval/return"] > 2.7 and rows[0]["train/return"] < 1.6
    for row in rows:
        assert row["check/first_log_ratio"] <= 1e-6 and row["check/acting"] <= 1e-5
        assert 0 <= row["kl/final"] < 1 and 0 < row["policy/entropy"] <= math.log(24) + 1e-6


# Every way to hold a policy learns: the best action again. One word each; what a word needs beside it stands there too.

LEARNS = {
    "method=ppo": (),
    "method=spo": (),
    "method=truly": (),
    "method=penalty": (),
    "method=trpo": ("target_kl=0.03",),
    "method=aspo": (),
    "method=soft": (),
    "method=dpo": (),
    "method=vmpo": (),
    "method=trpl": ("epochs=8",),
    "method=outer": (),
    "method=rsl_rl": ("target_kl=0.03",),
    "match_kl=0.03": (),
    "objective=none": ("stop=minibatch", "target_kl=0.05"),
    "objective.dual=3": (),
    "stop=ratio": ("clip=none",),
    "clip=adaptive": ("target_kl=0.03",),
    "penalty=fixed": (),
    "norm=ema": (),
    "value=huber": (),
    "value=quantile": (),
    "recompute_advantage=true": (),
    "rpo=0.1": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("word", LEARNS)
def test_every_way_to_hold_a_policy_finds_the_best_action(trained, word):
    words = [("+" if word.startswith("method") else "") + word, *LEARNS[word]]
    _, tensors = trained(
        *words, "env.task=target", "total_steps=24000", "num_envs=8", "num_steps=64", "minibatch_size=128",
        "epochs=8", "lr.value=1e-2", "eval.every=0", "network.log_std_min=-2",
    )  # fmt: skip
    obs = torch.linspace(-1, 1, 21)[:, None]
    with torch.no_grad():
        mean = load(tensors, quantiles=32 if word == "value=quantile" else 1).policy(obs).mean
    torch.testing.assert_close(mean, obs / 2, rtol=0, atol=0.15)


# The first minibatch

PENDULUM = ("env=gym", "env.id=Pendulum-v1", "action=tanh", "normalise.obs=true", "normalise.reward=true")
PROBE = ("env=probe", "env.task=target", "action=tanh", "normalise.obs=true")
GSDE = (*PENDULUM, "network=gsde", "network.resample=3")
STATE_STD = (*PENDULUM, "network=state_std", "network.squash=true")


@pytest.mark.parametrize("words", [PENDULUM, PROBE, GSDE, STATE_STD], ids=["pendulum", "probe", "gsde", "state_std"])
def test_at_the_first_minibatch_of_every_update_the_ratio_is_one(trained, words):
    """Statistics move between updates, never between acting and learning."""
    rows, tensors = trained(*words, "total_steps=1024", "network.actor=[32]", "lr.value=1e-2")
    assert len(rows) == 8
    for row in rows:
        assert row["check/first_log_ratio"] <= 1e-6 and abs(row["check/first_kl"]) <= 1e-6
        assert row["check/acting"] <= 1e-5
    assert rows[-1]["kl/final"] > 1e-5 and tensors["obs_moments.count"] == 1024


@pytest.mark.parametrize("words", [PENDULUM, PROBE], ids=["pendulum", "probe"])
def test_after_a_checkpoint_the_first_ratio_is_one_too(config, trained, words):
    """Parameters and statistics of a finished run, put into new parts: policy, ratio and normaliser belong together."""
    _, tensors = trained(*words, "lr.value=1e-2")
    parts = assemble(config(*words))
    learner, moments, scale = (
        checkpoint.from_leaves(getattr(parts.start, n), tensors, n) for n in ("learner", "obs_moments", "reward_scale")
    )
    parts.flat.copy_(learner.params)
    normalise = parts.normaliser(moments)
    rollout = allocate(32, 4, parts.envs.observation_space, parts.network)
    collect(parts.envs, parts.network, normalise, parts.to_world, parts.envs.reset(0), (), rollout, parts.generator)
    batch = parts.prepare(rollout, learner.params, normalise, parts.reward_normaliser(scale))
    chosen = parts.schedule(parts.start.chosen, parts.start.seen, 0)
    _, _, metrics = update(parts.update, learner, batch, parts.knobs(chosen), parts.generator)
    assert learner.count > 0 and moments.count == 256
    assert check_acting(rollout.policy, batch, limit=1e-5)["check/acting"] <= 1e-5
    assert metrics["check/first_log_ratio"] <= 1e-6 and abs(metrics["check/first_kl"]) <= 1e-6


def test_a_policy_that_moves_between_acting_and_learning_ends_the_run(trained, monkeypatch):
    original = Prepare.__call__

    def shifted(*args):
        batch = original(*args)
        batch.policy.mean.add_(0.1)
        return batch

    monkeypatch.setattr(Prepare, "__call__", shifted)
    with pytest.raises(OffPolicyError, match="the policy that acted is up to"):
        trained()


def test_a_first_ratio_that_is_not_one_ends_the_run_before_its_update_is_taken(trained, monkeypatch, tmp_path):
    original = ppo.train.update

    def moved(*args, **options):
        learner, halt, metrics = original(*args, **options)
        return learner, halt, metrics | {"check/first_log_ratio": 0.5}

    monkeypatch.setattr(ppo.train, "update", moved)
    with pytest.raises(OffPolicyError, match=r"at the first minibatch max \|log ratio\| is 0\.5"):
        trained("num_steps=8", "total_steps=32", "epochs=1", "eval.episodes=0")
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


# Statistics


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_evaluating_while_training_changes_nothing_that_is_learned(trained, finished):
    """Parameters, optimiser, statistics and random numbers, bit for bit."""
    often, never = trained(*PENDULUM, "eval.every=128")[1], finished(*PENDULUM).tensors
    assert set(often) == set(never) and {"learner.params", "obs_moments.mean", "generator"} < set(often)
    assert all(torch.equal(often[k], never[k]) for k in often)


def test_a_run_without_episodes_to_evaluate_makes_no_environment_for_it(trained):
    rows, _ = trained(*PENDULUM, "eval.episodes=0", "eval.every=128")
    assert len(rows) > 1 and not any(name.startswith("eval/") for row in rows for name in row)


def test_evaluating_a_checkpoint_uses_its_statistics_and_leaves_it_as_it_was(finished, capsys):
    """The same policy in the same episodes has the return that was measured while training."""
    rows, _, folder = finished(*PENDULUM)
    path = checkpoint.find(folder)
    before = file_hash(path)
    ppo.evaluate.main([str(folder), "--episodes", "2", "--seed", "1000000"])
    assert file_hash(path) == before
    assert f"return {rows[-1]['eval/return']:.2f} " in capsys.readouterr().out


def test_the_same_seed_gives_the_same_run_and_another_gives_another(trained, finished):
    one, (two, other) = finished(*PENDULUM).tensors, (trained(*PENDULUM, f"seed={s}", name=f"{s}")[1] for s in (1, 2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["learner.params"], other["learner.params"])


def test_the_seed_reaches_the_environments(trained):
    """A reward of -1 or 1 by chance, whatever the policy does."""
    one, other = (trained("env.task=observation", f"seed={s}", name=str(s))[0] for s in (1, 2))
    assert one[0]["train/return"] != other[0]["train/return"]


@pytest.mark.parametrize("words", [PENDULUM, GSDE], ids=["gaussian", "gsde"])
def test_the_same_seed_gives_the_same_run_whatever_the_number_of_workers(trained, finished, words):
    here, there = finished(*words).tensors, trained(*words, "workers=2")[1]
    assert set(here) == set(there) and all(torch.equal(here[k], there[k]) for k in here)


def test_rewards_are_scaled_by_the_discounted_return_of_each_episode_alone(trained):
    """Reward 1 and a clock that truncates after ten steps: the return runs 1, 1.9, 2.71 ... and starts anew."""
    once = (1 - GAMMA ** np.arange(1, 11)) / (1 - GAMMA)
    words = ("env.task=clock", f"gamma={GAMMA}", "num_steps=40", "total_steps=480", "normalise.reward=true")
    rows, _ = trained(*words)
    assert [row["reward/scale"] for row in rows] == pytest.approx([once.std()] * 3)


def test_rows_are_counted_as_environment_steps(trained):
    rows, tensors = trained("total_steps=300")
    assert [row["env_steps"] for row in rows] == [128, 256, 384]
    assert tensors["learner.count"] == 3 * 2 * 4  # rollouts, epochs, minibatches


WARM = ("env.task=target", "normalise.obs=true", "normalise.reward=true", "normalise.warmup=true")


def test_the_first_rollout_only_gathers_statistics(trained):
    """The policy acts in it as it will in the first update, which learns from observations of mean 0 and deviation 1."""
    rows, tensors = trained(*WARM, "total_steps=384")
    assert [row["env_steps"] for row in rows] == [256, 384] and tensors["obs_moments.count"] == 3 * 128
    cold, _ = trained(*WARM, "total_steps=384", "normalise.warmup=false", name="cold")
    assert [row["env_steps"] for row in cold] == [128, 256, 384]


class Adrift(gymnasium.Env):
    """Walks at random, is paid at random, and is truncated after five steps."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.here = 0, self.np_random.normal(size=2)
        return self.here, {}

    def step(self, action):
        self.clock, self.here = self.clock + 1, self.here + self.np_random.normal(size=2)
        return self.here, self.np_random.normal(), False, self.clock == 5, {}


def test_the_statistics_are_those_of_every_sample_that_is_not_masked(trained, monkeypatch):
    """Of all environments, of the first rollout as of the second; a return ends where its episode is truncated."""
    rollouts, original = [], ppo.train.rolled

    def rolled(*args):
        rollout, *rest = original(*args)
        mask = torch.ones_like(rollout.done)
        mask[3 + len(rollouts), 1] = False
        rollout = rollout._replace(mask=mask, reward=torch.where(mask, rollout.reward, 0.0))
        rollouts.append(tree_map(torch.clone, rollout))
        return rollout, *rest

    monkeypatch.setattr(ppo.train, "rolled", rolled)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Adrift-v0", Adrift)
    _, tensors = trained(
        "env=gym", "env.id=Adrift-v0", "normalise.obs=true", "normalise.reward=true", "normalise.warmup=true",
        f"gamma={GAMMA}", "num_steps=8", "total_steps=64", "epochs=1", "eval.episodes=0",
    )  # fmt: skip
    assert len(rollouts) == 2 and not any(rollout.terminated.any() for rollout in rollouts)
    seen, returns, running = [], [], torch.zeros(4, dtype=torch.float64)
    for rollout in rollouts:
        for obs, reward, done, mask in zip(rollout.obs, rollout.reward, rollout.done, rollout.mask, strict=True):
            running = GAMMA * running + reward
            seen.append(obs[mask].double()), returns.append(running[mask])
            running = torch.where(done, 0.0, running)
    for name, samples in (("obs_moments", torch.cat(seen)), ("reward_scale.moments", torch.cat(returns))):
        assert tensors[f"{name}.count"] == len(samples) == 62
        torch.testing.assert_close(tensors[f"{name}.mean"], samples.mean(0))
        torch.testing.assert_close(tensors[f"{name}.m2"], 62 * samples.var(0, correction=0))
    torch.testing.assert_close(tensors["reward_scale.discounted"], running)


@pytest.mark.parametrize("words", [("total_steps=128",), ("normalise.obs=false", "normalise.reward=false")], ids=str)
def test_there_is_no_warm_up_where_it_would_gather_nothing_or_leave_nothing(trained, words):
    rows, _ = trained(*WARM, *words)
    assert rows[0]["env_steps"] == 128


def test_a_run_that_starts_from_another_has_its_statistics(trained, finished):
    first = finished(*WARM)
    rows, _ = trained(*WARM, f"init={first.folder}", name="second")
    assert rows[0]["env_steps"] == 128


# Schedules and adaptation


def test_schedules_follow_environment_steps_however_many_minibatches_ran(trained, capsys):
    schedules = ("lr=linear", "lr.value=1e-2", "clip=linear", "clip.eps=0.4", "total_steps=512", "env.task=target")
    free, _ = trained(*schedules, name="free")
    stopped, tensors = trained(*schedules, "stop=minibatch", "target_kl=1e-6", name="stopped")
    assert tensors["learner.count"] < 32  # of 4 rollouts, 2 epochs, 4 minibatches
    assert capsys.readouterr().out.count("stopped before epoch") == 1  # the first is explained, the others are counted
    for name, expected in (("lr", [1e-2, 7.5e-3, 5e-3, 2.5e-3]), ("clip/high", [1.4, 1.3, 1.2, 1.1])):
        assert [row[name] for row in stopped] == [row[name] for row in free] == pytest.approx(expected)


def test_what_adapts_does_so_once_an_update_from_where_it_was(trained):
    """Beta doubles or halves, the range moves by its factor, by the KL that the update before ended with."""
    words = (
        "penalty=adaptive",
        "penalty.beta=4",
        "clip=adaptive",
        "clip.eps=0.4",
        "clip.tolerance=1.5",
        "target_kl=0.002",
        "lr.value=1e-2",
    )
    rows, _ = trained(*words, "total_steps=1024", "env.task=target")
    betas, widths = [row["penalty/beta"] for row in rows], [row["clip/high"] - 1 for row in rows]
    assert betas[0] == 4 and widths[0] == pytest.approx(0.4) and len(set(betas)) > 1
    for before, beta, after, width, wide in zip(rows, betas, betas[1:], widths, widths[1:]):
        by = (before["kl/chosen"] > 0.003) - (before["kl/chosen"] < 0.002 / 1.5)
        assert after == beta * 2.0**by
        assert wide == pytest.approx(min(max(width * 1.2**-by, 0.05), 0.5))
        assert before["loss/kl"] >= 0


def test_the_range_of_norm_ema_runs_on_from_update_to_update(trained):
    """S moves by a tenth of the way to the range of this rollout, and a checkpoint holds where it is."""
    rows, _ = trained("norm=ema", "total_steps=512", "env.task=target")
    scales = [row["advantage/scale"] for row in rows]
    assert len(set(scales)) == 4 and all(
        0.9 * a < b < 0.9 * a + 0.1 * row["advantage/max_abs"] * 2 for a, b, row in zip(scales, scales[1:], rows[1:])
    )


def test_recomputed_advantages_are_those_of_the_critic_at_the_start_of_each_epoch(config):
    """The first epoch learns from what was prepared; a later one from what preparing again would give."""
    seen = []

    def spy(advantage, group, mask, last):
        seen.append(advantage.flatten().sort().values)
        return advantage, None

    parts = assemble(config("env.task=delay", "recompute_advantage=true", "lr.value=1e-2"))
    rollout, raw = allocate(32, 4, parts.envs.observation_space, parts.network), ObsNormaliser.identity()
    collect(parts.envs, parts.network, raw, parts.to_world, parts.envs.reset(0), (), rollout, parts.generator)
    learner, batch = parts.start.learner, parts.prepare(rollout, parts.flat, raw, torch.Tensor.float)
    refresh = parts.prepare.refresh(rollout, raw, torch.Tensor.float)
    torch.testing.assert_close(refresh(parts.flat, batch).advantage, batch.advantage, rtol=0, atol=0)
    step, turns = watched(parts.update.step)
    bound = parts.update._replace(step=step, norm=spy)
    chosen = parts.schedule(parts.start.chosen, parts.start.seen, 0)
    update(bound, learner, batch, parts.knobs(chosen), parts.generator, refresh=refresh)
    halfway = turns[3].learner.params
    again = parts.prepare(rollout, halfway, raw, torch.Tensor.float)
    for got, expected in zip(seen, (batch, again), strict=True):
        torch.testing.assert_close(got, expected.advantage.sort().values)
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    kept = refresh(halfway, batch)
    assert torch.equal(kept.value, batch.value) and not torch.equal(kept.target, batch.target)
    torch.testing.assert_close(kept.target, again.target)


def test_an_adaptive_learning_rate_falls_after_an_update_that_was_undone(trained):
    """The KL that is left after a rollback is rounding; taken for a small step it would raise the rate for ever."""
    rows, _ = trained(
        "lr=adaptive_kl", "lr.value=1e-2", "stop=rollback", "target_kl=1e-6", "total_steps=512", "env.task=target"
    )
    assert all(row["update/stop"] == "rollback" for row in rows)
    assert [row["lr"] for row in rows] == pytest.approx([1e-2, 1e-2 / 1.5, 1e-2 / 1.5**2, 1e-2 / 1.5**3])


def test_rollback_ends_every_update_at_or_below_its_limit(trained):
    rows, _ = trained("stop=rollback", "target_kl=0.02", "lr.value=1e-2", "total_steps=1024", "env.task=target")
    assert {row["update/stop"] for row in rows} == {"none", "rollback"}
    assert all(row["kl/overshoot"] == pytest.approx(row["kl/final"] / 0.02 - 1) for row in rows)
    assert all(row["kl/final"] <= 0.03 for row in rows)


# Coefficient 0


def test_a_coefficient_of_zero_keeps_the_term_from_being_computed(config, monkeypatch):
    def explode(prediction, target, old):
        raise AssertionError("called")

    monkeypatch.setattr(ppo.loss.value, "mse", explode)
    explode.__module__ = "ppo.loss.value"

    def first_step(word):
        parts = assemble(config(word))
        rollout, raw = allocate(8, 4, parts.envs.observation_space, parts.network), ObsNormaliser.identity()
        collect(parts.envs, parts.network, raw, parts.to_world, parts.envs.reset(0), (), rollout, parts.generator)
        batch = parts.prepare(rollout, parts.flat, raw, torch.Tensor.float)
        knobs = parts.knobs(parts.schedule(parts.start.chosen, parts.start.seen, 0))
        return turn(parts.update.step, parts.start.learner, batch, knobs).metrics["taken"]

    assert first_step("coef.value=0") == 1
    with pytest.raises(AssertionError, match="called"):
        first_step("coef.value=0.5")


# The job that the README begins with


MEASURED = ("loss/", "kl/", "grad/", "policy/", "ratio/", "value/", "target/", "advantage/")


def test_the_shipped_default_trains(shipped, tmp_path):
    """Every word as it is shipped, but for the length of the run and the dashboard: two updates on Ant."""
    pytest.importorskip("pybullet")
    cfg = shipped("kl=exact", "norm=group", "logger=none", "num_steps=32", "total_steps=768")
    ppo.train.train(cfg, Run(tmp_path / "run", "run", {}))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows] == [512, 768]  # the first rollout only gathers statistics
    assert [row["lr"] for row in rows] == pytest.approx([cfg.lr.value * 2 / 3, cfg.lr.value / 3])
    for row in rows:
        assert 0 < row["update/steps"] <= cfg.epochs * 256 / cfg.minibatch_size
        assert row["check/first_log_ratio"] <= 1e-6 and abs(row["check/first_kl"]) <= 1e-6
        assert 0 < row["kl/final"] < 2 * cfg.stop.factor * cfg.target_kl and row["clip/high"] == 1 + cfg.clip.eps
        assert all(math.isfinite(x) for name, x in row.items() if isinstance(x, float) and name.startswith(MEASURED))
    assert "eval/return" in rows[-1]


# What is left alone


def test_every_sub_environment_is_evaluated_for_one_episode():
    """Even those that end sooner and start again: eight one-step episodes, deterministically best."""
    envs = probe(8, 0, task="target")
    returns, lengths = ppo.evaluate.play(envs, lambda obs, memory: (TASKS["target"].best(obs).numpy(), memory), 0)
    assert returns.shape == (8,) and np.abs(returns).max() < 1e-12 and (lengths == 1).all()


def test_importing_the_package_changes_no_global_default():
    program = """
import logging, random, sys, warnings
import numpy as np, torch

def defaults():
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), np.geterr(),
        list(warnings.filters), logging.root.level, list(logging.root.handlers), sys.excepthook,
    )

import gymnasium, hydra, omegaconf, safetensors.torch, rich.console, rich.progress, jaxtyping, scipy.stats, torch.func  # theirs
before = defaults()
import importlib, pkgutil
import ppo, envs
for package in (ppo, envs):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
changed = [i for i, (a, b) in enumerate(zip(before, defaults())) if a != b]
assert not changed, changed
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("fails", [False, True])
def test_the_garbage_collector_leaves_the_libraries_alone_while_a_run_trains(monkeypatch, tmp_path, fails):
    seen = []

    def train(cfg, run):
        seen.append(gc.get_freeze_count())
        if fails:
            raise EnvError("no floor")
        return 0.0

    monkeypatch.setattr(ppo.train, "train", train)
    monkeypatch.setattr(sys, "argv", ["ppo-train", "logger=none", "env=probe", f"hydra.run.dir={tmp_path / 'run'}"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == (2 if fails else 0)
    assert seen[0] > 10_000 and gc.get_freeze_count() == 0
