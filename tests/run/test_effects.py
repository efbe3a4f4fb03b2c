"""A word that changes nothing is found by asking the options, whatever they are."""

import pytest

from ppo.config.options import strategy
from ppo.run.effects import said, unread


@pytest.fixture
def lines(config):
    def lines(*words: str) -> list[str]:
        cfg = config(*words)
        groups = ("kl", "stop", "objective", "clip", "penalty", "lr", "outer", "value", "env", "reference")
        options = {group: strategy(group, cfg[group]) for group in groups}
        return said(words, unread(options, cfg))

    return lines


@pytest.mark.parametrize(
    "words",
    [
        ("stop=none", "kl=k1"),
        ("stop=none", "target_kl=0.01"),
        ("stop=ratio", "kl=k3"),
        ("stop=rollback", "target_kl=0.01", "kl=k1"),
        ("stop=none", "objective=none", "clip.eps=0.1"),
        ("stop=none", "objective=trpo", "target_kl=0.01", "clip=linear"),
        ("stop=none", "coef.value=0", "value=huber"),
        ("epochs=1", "recompute_advantage=true"),
        ("normalise.obs=false", "normalise.clip_obs=3"),
        ("normalise.reward=false", "normalise.clip_reward=3"),
        ("eval.episodes=0", "eval.every=10"),
        ("objective=trpo", "coef.value=0", "target_kl=0.01", "max_grad_norm=0.1"),
        ("env=batched", "workers=1"),
        ("objective=trpo", "target_kl=0.01", "stop=ratio"),
        ("objective=trpo", "target_kl=0.01", "stop=minibatch"),
        ("objective=trpo", "target_kl=0.01", "kl=k1"),
        ("stop=none", "objective=soft", "objective.gate=step", "objective.softness=0.1"),
        ("reference=initial", "reference.end=0.1"),
        ("reference=initial", "reference.schedule=linear", "reference.target=0.5"),
        ("reference=checkpoint", "reference.run=x", "reference.schedule=adaptive", "reference.end=0.5"),
    ],
)
def test_the_last_word_changes_nothing_and_that_is_said(lines, words):
    assert [line.split(" changes nothing: ")[0] for line in lines(*words)] == [words[-1]]


@pytest.mark.parametrize("words", [("penalty=fixed", "penalty.beta=0"), ("outer=step", "outer.sigma=1")])
def test_an_option_whose_numbers_make_it_none_is_said_with_them(lines, words):
    assert [line.split(" changes nothing: ")[0] for line in lines(*words)] == [*words]


@pytest.mark.parametrize(
    "words",
    [
        ("kl=k1", "stop=minibatch", "target_kl=0.01"),
        ("kl=k1", "stop=epoch", "target_kl=0.01"),
        ("kl=k1", "stop=none", "penalty=fixed"),
        ("kl=k1", "stop=none", "lr=adaptive_kl", "target_kl=0.01"),
        ("kl=k1", "stop=none", "clip=adaptive", "target_kl=0.01"),
        ("kl=k1", "stop=none", "penalty=adaptive", "target_kl=0.01"),
        ("lr=adaptive_kl", "lr.value=3e-4", "lr.min=3e-4", "stop=none", "target_kl=0.02"),
        ("clip=adaptive", "clip.eps=0.2", "clip.min=0.2", "stop=none", "target_kl=0.02"),
        ("lr=adaptive_kl", "lr.value=3e-4", "lr.max=3e-4", "stop=none", "target_kl=0.02"),
        ("stop=none", "objective=spo", "clip.eps=0.1"),
        ("epochs=2", "recompute_advantage=true"),
        ("normalise.reward=false", "normalise.obs=true", "normalise.clip_obs=3"),
        ("penalty=fixed", "penalty.beta=0.1"),
        ("outer=step", "outer.sigma=1", "outer.momentum=0.5"),
        ("eval.episodes=1", "eval.every=10"),
        ("objective=trpo", "target_kl=0.01", "stop=none", "max_grad_norm=0.1"),
        ("stop=none", "objective=ppo", "clip=linear"),
        ("stop=none", "objective=soft", "objective.softness=0.1"),
        ("stop=none", "objective=soft", "objective.gate=linear", "objective.softness=0.1"),
        ("reference=initial", "reference.schedule=linear", "reference.end=0.1", "reference.coef=0.5"),
        ("reference=initial", "reference.schedule=adaptive", "reference.target=0.1", "reference.coef=0.5"),
        ("objective=trpo", "target_kl=0.01", "penalty=fixed", "kl=k1"),
    ],
)
def test_a_word_that_something_reads_is_not_mentioned(lines, words):
    assert lines(*words) == []
