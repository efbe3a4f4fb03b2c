"""What a person configures is what the parts get."""

import math
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

import ppo.loss.kl
from envs.base import EnvError
from ppo.buffer.collect import collect
from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import allocate
from ppo.buffer.rewards import RewardScale
from ppo.config.options import ConfigError
from ppo.network.distributions import Gaussian
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.run.assemble import assemble
from ppo.run.machine import resolve
from tests.envs.toy import Counter
from tests.update.steps import turn


@pytest.fixture
def parts_of(config):
    """The parts for some command-line words, closed after the test."""
    opened = []

    def make(*words):
        cfg = config(*words)
        opened.append(assemble(cfg))
        return cfg, opened[-1]

    yield make
    for parts in opened:
        parts.envs.close()


def first_knobs(parts):
    return parts.knobs(parts.schedule(parts.start.chosen, parts.start.seen, 0))


def batch_of(parts):
    rollout, raw = allocate(8, 4, parts.envs.observation_space, parts.network), ObsNormaliser.identity()
    collect(parts.envs, parts.network, raw, parts.to_world, parts.envs.reset(0), (), rollout, parts.generator)
    return parts.prepare(rollout, parts.start.learner.params, raw, torch.Tensor.float)


@pytest.mark.parametrize(
    ("space", "words", "says"),
    [
        (Box(np.zeros(1, np.float32), np.full(1, np.inf, np.float32)), (), "has none above; use action=clip"),
        (Discrete(3), ("network=categorical",), "is for continuous actions, not Discrete.3.; use action=clip"),
    ],
)
def test_a_space_that_an_action_option_cannot_serve_is_refused_at_once(parts_of, monkeypatch, space, words, says):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(Counter, "action_space", space)
    gymnasium.register("Open-v0", partial(Counter, 0))
    with pytest.raises(EnvError, match=f"^action=tanh .*{says}$"):
        parts_of("env=gym", "env.id=Open-v0", "action=tanh", *words)


def test_every_number_of_an_update_is_in_its_place(parts_of):
    words = (
        "max_grad_norm=0.7",
        "coef.value=0.1",
        "coef.entropy=0.2",
        "penalty=fixed",
        "penalty.beta=0.3",
        "reference=initial",
        "reference.coef=0.4",
        "stop=minibatch",
    )
    cfg, parts = parts_of(*words, "target_kl=2", "lr.value=1e-4", "clip=asymmetric", "clip.above=0.3")
    got = first_knobs(parts)._asdict()
    coef = {name: weight.item() for name, weight in got.pop("coef").items()}
    assert got.pop("width") == {}
    expected = {"lr": 1e-4, "clip_low": 0.8, "clip_high": 1.3, "limit": 3.0, "max_grad_norm": 0.7, "value": 0.1}
    assert {name: number.item() for name, number in got.items()} == pytest.approx(expected)
    assert coef == pytest.approx({"entropy": 0.2, "kl": 0.3, "reference": 0.4})
    assert first_knobs(parts_of("max_grad_norm=null")[1]).max_grad_norm == math.inf


def test_an_environment_that_sets_torchs_default_changes_no_network(parts_of, config, monkeypatch):
    """Else its parameters would be float64, also where workers=auto looked at one first; a program that has set it is told."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Wide-v0", lambda: torch.set_default_dtype(torch.float64) or Counter(0))
    try:
        resolve(config("env=gym", "env.id=Wide-v0", "workers=auto"))
        _, parts = parts_of("env=gym", "env.id=Wide-v0")
        assert parts.flat.dtype == torch.get_default_dtype() == torch.float32
        torch.set_default_dtype(torch.float64)
        with pytest.raises(ConfigError, match="torch's default is torch.float64 here"):
            parts_of("env=gym", "env.id=Wide-v0")
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("words", "weighs"),
    [
        (("reference.coef=0",), False),
        (("reference.coef=0", "reference.schedule=linear", "reference.end=0"), False),
        (("reference.coef=0", "reference.schedule=linear", "reference.end=0.1"), True),
        (("reference.coef=0.1",), True),
    ],
)
def test_a_reference_of_weight_0_is_measured_and_no_term_of_the_loss(parts_of, words, weighs):
    _, parts = parts_of("reference=initial", *words)
    assert parts.reference and ("reference" in [term.name for term in parts.terms]) is weighs
    assert ("reference" in first_knobs(parts).coef) is weighs


def step_of(parts_of, *words):
    """(learner, metrics) of one step, off policy by a little; the same samples whatever the words."""
    _, parts = parts_of("env.task=target", *words)
    batch = batch_of(parts)
    batch.policy.mean.add_(0.1)
    return turn(parts.update.step, parts.start.learner, batch, first_knobs(parts))


@pytest.mark.parametrize("word", ["adam.beta1=0.5", "adam.beta2=0.5", "adam.eps=1", "coef.entropy=1", "penalty=fixed"])
def test_options_of_the_step_reach_it(parts_of, word):
    plain, changed = (step_of(parts_of, *words)[0] for words in ((), (word,)))
    assert not (torch.equal(plain.params, changed.params) and torch.equal(plain.m, changed.m))


def test_bounds_of_the_log_ratio_reach_the_step(parts_of):
    for name, word in (("warned", "warn=1e-3"), ("clamped", "clamp=1e-3"), ("extreme", "extreme_high=1.001")):
        assert step_of(parts_of)[1][f"guard/{name}"] == 0 < step_of(parts_of, f"guard.{word}")[1][f"guard/{name}"]


def test_micro_batches_reach_the_step(parts_of, monkeypatch):
    """The objective is called once for each, after it was asked what it reads."""
    import ppo.loss.objective as module

    sizes, original = [], module.ppo

    def ppo(log_ratio, advantage, low, high, *, dual: float | None):
        sizes.append(len(log_ratio))
        return original(log_ratio, advantage, low, high, dual=dual)

    ppo.__module__ = "ppo.loss.objective"
    monkeypatch.setattr(module, "ppo", ppo)
    step_of(parts_of, "micro_batches=4")
    assert sizes[-4:] == [8] * 4 and 32 not in sizes


def test_a_penalty_or_bonus_of_coefficient_zero_is_not_computed(parts_of, monkeypatch):
    """0 x inf would be NaN: a term that is computed all the same stops the update."""

    def rooted(old, new, log_ratio):  # 0 at equality, its derivative there infinite
        return (new.mean - old.mean).abs().sum(-1).sqrt()

    rooted.__module__ = "ppo.loss.kl"
    monkeypatch.setattr(ppo.loss.kl, "exact", rooted)
    for word, taken in (("penalty.beta=0", 1), ("penalty.beta=0.1", 0)):
        _, parts = parts_of("penalty=fixed", word)
        learner, metrics = turn(parts.update.step, parts.start.learner, batch_of(parts), first_knobs(parts))
        assert metrics["taken"] == taken


def test_an_entropy_bonus_of_coefficient_zero_is_computed_for_its_metric_alone(parts_of, monkeypatch):
    calls, original = [], Gaussian.entropy
    monkeypatch.setattr(Gaussian, "entropy", lambda policy: (calls.append(1), original(policy))[1])
    step_of(parts_of, "coef.entropy=0")
    assert len(calls) == 1
    step_of(parts_of, "coef.entropy=0.1")
    assert len(calls) == 3


def test_normalisers_are_used_where_asked_for_and_clip_where_told(parts_of):
    """Deviation 2 of everything seen so far."""
    moments = Moments.empty(1).update(torch.tensor([[-2.0], [2.0]]))
    scale = RewardScale.empty(4)._replace(moments=Moments(*(x.squeeze() for x in moments)))
    x = torch.tensor([[1.0], [100.0]])
    for word, obs, reward in (("true", [0.5, 3.0], [0.5, 5.0]), ("false", [1.0, 100.0], [1.0, 100.0])):
        words = (f"normalise.obs={word}", f"normalise.reward={word}")
        _, parts = parts_of(*words, "normalise.clip_obs=3", "normalise.clip_reward=5")
        assert parts.normaliser(moments)(x)[:, 0].tolist() == obs
        assert parts.reward_normaliser(scale)(x[:, 0]).tolist() == reward


def test_the_estimator_that_is_measured_is_the_chosen_one(parts_of):
    cfg, parts = parts_of("kl=k2")
    batch = batch_of(parts)
    batch = batch._replace(policy=tree_map(lambda x: x + 0.1, batch.policy))
    measured = parts.update.measure(parts.flat, batch)
    policy = parts.network.policy(batch.obs)
    assert measured.chosen.item() == pytest.approx(policy.log_ratio(batch.policy, batch.action).square().mean() / 2)
