"""A run on a foreign simulator: who sees what, what it says of itself, evaluation, and how it is resumed."""

import json

import pytest
import torch

from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.train import train

WORDS = ("env=vecenv", "env.make=tests.envs.simulators.make", "trust=[tests]", "env.kwargs.length=5")


def test_actor_and_critic_see_their_groups_and_the_simulator_speaks_in_metrics(finished):
    done = finished(*WORDS)
    actor, critic, deviations = 2 * 16 + 16 + 16 * 2 + 2, 2 * 16 + 16 + 16 + 1, 2  # two columns each, of four
    assert done.tensors["learner.params"].numel() == actor + critic + deviations
    assert done.rows[-1]["world/two"] == 2.0 and 1 <= done.rows[-1]["world/clock"] <= 5
    assert all(abs(row["check/first_kl"]) < 1e-6 for row in done.rows)
    assert done.rows[-1]["train/length"] == pytest.approx(4.45, abs=0.1)  # of 5 and of 4 steps


def test_what_is_asked_for_wins_over_what_names_say(finished):
    done = finished(*WORDS, "observe.critic=[policy,critic]")
    assert done.tensors["learner.params"].numel() == 82 + (4 * 16 + 16 + 16 + 1) + 2


def test_an_evaluation_plays_whole_episodes(finished):
    last = finished(*WORDS, "env.random_start=true").rows[-1]
    assert last["eval/length"] == 4.5 and last["eval/episodes"] == 2


def test_an_evaluation_leaves_the_random_numbers_of_training_as_they_were(trained):
    noisy = (*WORDS, "env.make=tests.envs.simulators.Noisy", "total_steps=512")
    (often, _), (never, _) = (trained(*noisy, word, name=word) for word in ("eval.every=128", "eval.episodes=0"))
    assert sum("eval/return" in row for row in often) == 4
    assert [row["train/return"] for row in often] == [row["train/return"] for row in never]


@pytest.mark.parametrize(
    ("make", "what", "counted"), [("Breaking", "obs", 2), ("Breaking", "reward", 1), ("Clockless", "obs", 9)]
)
@pytest.mark.parametrize("words", [(), ("network=gru", "network.hidden=4", "network.chunk=8")], ids=["mlp", "gru"])
def test_a_simulator_with_a_broken_world_is_learned_from(trained, make, what, counted, words):
    """World 2 of 4, from its second step on: until its clock is set, or its own ten steps are over."""
    told = (*WORDS, f"env.make=tests.envs.simulators.{make}", f"env.kwargs.what={what}", "env.kwargs.length=10")
    rows, tensors = trained(*told, *words, "eval.episodes=0", "normalise.obs=true", "normalise.reward=true")
    assert [row["env/nonfinite"] for row in rows] == [counted, 0]
    assert all(torch.isfinite(x).all() for x in tensors.values()) and rows[0]["check/first_log_ratio"] < 1e-4


def test_it_is_resumed_with_new_episodes_where_that_is_asked_for(config, tmp_path):
    run = Run(tmp_path / "run", "run", {})
    train(config(*WORDS, "eval.episodes=0"), run)
    more = (*WORDS, "eval.episodes=0", "total_steps=384")
    with pytest.raises(ConfigError, match="exact_resume=false"):
        train(config(*more), run)
    train(config(*more, "exact_resume=false"), run)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows] == [128, 256, 384]
