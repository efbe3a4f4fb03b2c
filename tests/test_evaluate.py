"""``python -m ppo.evaluate``: the policy of a checkpoint, deterministic, the same wherever it is played."""

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

import ppo
from envs.base import Step
from ppo import evaluate
from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.run.checkpoint import find, load
from ppo.train import train


def run(folder: Path, *words: str) -> None:
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        train(compose("config", ["logger=none", *words]), Run(folder, "test", {}))


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small = ("num_envs=2", "num_steps=128", "epochs=2", "total_steps=512", "eval.episodes=3")
    run(folder, "+experiment=pendulum", "normalise.obs=true", *small)
    return folder


def test_the_checkpoint_plays_the_episodes_that_training_logged(pendulum, capsys):
    logged = [json.loads(line) for line in (pendulum / "metrics.jsonl").read_text().splitlines()][-1]
    evaluate.main([str(pendulum), "--episodes", "3"])
    expected = f"return {logged['eval/return']:.2f} +- {logged['eval/std']:.2f} (std), n = 3, length 200.0, most likely actions"
    assert capsys.readouterr().out.strip() == expected


def test_a_policy_can_be_played_on_another_task(pendulum, capsys):
    """Without gravity the pendulum stays where it is; a word that is none ends in one line."""
    returns = []
    for words in ([], ["env.kwargs.g=0"]):
        evaluate.main([str(pendulum), "--episodes", "3", *words])
        returns.append(capsys.readouterr().out)
    assert returns[0] != returns[1]
    for word, said in (
        ("env.kwarg=0", "did you mean kwargs?"),
        ("seed=3", "write env.KEY=VALUE"),
        ("env.id={", "env.id={"),
    ):
        with pytest.raises(SystemExit) as ended:
            evaluate.main([str(pendulum), word])
        assert ended.value.code == 2
        assert said in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_a_seed_below_zero_is_one_line(pendulum, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(pendulum), "--seed", "-1"])
    assert ended.value.code == 2 and capsys.readouterr().err == "error: --seed -1: must be at least 0\n"
    with ppo.load(pendulum) as policy, pytest.raises(ConfigError, match="seed=-1"):
        policy.evaluate(1, seed=-1)


def test_what_cannot_be_is_one_line(pendulum, capsys):
    for words, said in (
        (["checkpoints/latest.safetensors", "--checkpoint", "best"], "is a checkpoint itself"),
        ([".", "env.wrappers.0=3"], "env.wrappers"),
        ([".", "--seed", str(2**70)], "below 2^63"),
    ):
        with pytest.raises(SystemExit) as end:
            evaluate.main([str(pendulum / words[0]), *words[1:], "--episodes", "1"])
        err = capsys.readouterr().err
        assert end.value.code == 2 and said in err and err.count("\n") == 1


def test_an_error_of_several_lines_is_told_in_one(capsys):
    assert evaluate.fail(OSError("ffmpeg: no such codec\n  built with gcc\n\nversion 7")) == 2
    assert capsys.readouterr().err == "error: ffmpeg: no such codec built with gcc version 7\n"


def test_evaluation_leaves_the_checkpoint_as_it_was(pendulum):
    before = find(pendulum).read_bytes()
    evaluate.main([str(pendulum), "--episodes", "1"])
    assert find(pendulum).read_bytes() == before


def test_a_checkpoint_holds_what_training_needs(pendulum):
    tensors, meta = load(find(pendulum))
    assert {"learner.params", "learner.m", "learner.v", "learner.count", "generator"} <= set(tensors)
    assert tensors["obs_moments.count"].item() == 512
    assert meta["progress"]["env_steps"] == 512
    assert meta["config"]["env"]["id"] == "Pendulum-v1"


def test_a_video_is_written_without_a_screen(tmp_path):
    """An untrained hopper falls within a second."""
    pytest.importorskip("pybullet")
    run(tmp_path / "run", "env=hopper", "num_envs=2", "num_steps=64", "total_steps=128", "epochs=1", "eval.episodes=1")
    evaluate.main([str(tmp_path / "run"), "--episodes", "1", "--video", str(tmp_path / "hop.gif")])
    frames = imageio.imread(tmp_path / "hop.gif")
    assert len(frames) > 5
    assert frames[0].std() > 0
    assert (frames[0] != frames[-1]).any()


def test_every_sub_environment_counts_once_whatever_its_length():
    """Taking the first N episodes to end would favour short ones."""

    class Clock:
        num_envs = 3
        ends = np.array([2, 5, 3])

        def reset(self, seed):
            self.t = np.zeros(3, int)
            return np.zeros((3, 1), np.float32)

        def step(self, action):
            self.t += 1
            done = self.t == self.ends
            obs, false, group = np.zeros((3, 1), np.float32), np.zeros(3, bool), np.arange(3)
            returns, lengths = np.where(done, 10.0 * self.t, np.nan), np.where(done, self.t, 0)
            step = Step(obs, np.ones(3), obs, done, false, group, returns, lengths)
            self.t[done] = 0
            return step

    returns, episode_lengths = evaluate.play(Clock(), lambda obs, memory: (None, memory), 0)
    assert returns.tolist() == [20, 50, 30]
    assert episode_lengths.tolist() == [2, 5, 3]


def test_sampled_actions_are_said(pendulum, capsys):
    said = []
    for _ in range(2):
        evaluate.main([str(pendulum), "--episodes", "3", "--stochastic"])
        said.append(capsys.readouterr().out)
    evaluate.main([str(pendulum), "--episodes", "3"])
    assert said[0] == said[1] and "sampled actions" in said[0]
    assert said[0].split()[1] != capsys.readouterr().out.split()[1]
