"""``python -m ppo.play``: a window, or the command that films where there is none."""

import argparse
import shlex
import sys

import numpy as np
import pytest

from ppo import evaluate, play
from ppo.run.film import check_path


@pytest.fixture
def no_display(monkeypatch):
    for name in ("WAYLAND_DISPLAY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pendulum(finished):
    return finished("env=gym", "env.id=Pendulum-v1", "eval.episodes=0", "total_steps=128").folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="windows open by other means there")
def test_without_a_display_the_command_that_films_is_named_and_works(pendulum, no_display, capsys):
    check_path(pendulum / "a.mp4")
    with pytest.raises(SystemExit) as ended:
        play.main([str(pendulum), "--stochastic", "env.kwargs.g=5", "env.kwargs.max_episode_steps=8"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is no display here") and said.count("\n") == 1
    command = said.partition("film instead: ")[2]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "ppo.evaluate"]
    pytest.importorskip("pygame")  # draws the pendulum
    evaluate.main(words[3:])
    assert (pendulum / "videos" / "play.mp4").stat().st_size > 0
    assert "video: " in (out := capsys.readouterr().out) and "8 states" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--speed", "2"], "--speed 2: must be above 0 and at most 1"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        (["--episodes", "0"], "--episodes 0: must be at least 1"),
        (["seed=3"], "write env.KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line(pendulum, words, said, capsys, monkeypatch):
    monkeypatch.setattr(play, "missing_display", lambda: None)
    with pytest.raises(SystemExit) as ended:
        play.main([str(pendulum), *words])
    assert ended.value.code == 2 and said in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_the_command_that_films_says_what_was_not_the_default(no_display, monkeypatch, tmp_path):
    def words(*typed):
        parser = argparse.ArgumentParser()
        evaluate.arguments(parser)
        return shlex.split(play.in_place_of_a_window(parser.parse_args(typed)))[3:]

    assert words("wandb:a/b/c") == ["wandb:a/b/c", "--episodes", "1", "--video", "videos/play.mp4"]
    given = ["--seed", "7", "--max-steps", "9", "--device", "cuda"]
    assert words(str(tmp_path), *given)[1:7] == given


def test_it_plays_the_episodes_of_an_evaluation(pendulum, capsys, monkeypatch):
    monkeypatch.setattr(play, "missing_display", lambda: None)
    monkeypatch.setattr("envs.gym.check_window", lambda mode: None)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # pygame's window that nobody sees
    pytest.importorskip("pygame")
    short = ["env.kwargs.max_episode_steps=3"]
    play.main([str(pendulum), "--episodes", "2", *short])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("Pendulum-v1 after 128 steps; keys") and len(lines) == 2
    returns = np.mean([float(line.split()[3].rstrip(",")) for line in lines])
    evaluate.main([str(pendulum), "--episodes", "2", *short])
    assert float(capsys.readouterr().out.split()[1]) == pytest.approx(returns, abs=0.01)
