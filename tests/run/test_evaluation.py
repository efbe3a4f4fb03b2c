"""Evaluation stands beside training: it comes after the update is on the disk, and costs no more than its own numbers."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import yaml

import ppo.doctor.watch
import ppo.run.evaluation
import ppo.train
from envs.base import EnvError
from envs.vector import vector
from ppo.config.options import ConfigError
from ppo.config.schema import CONF
from ppo.logging import jsonl
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.episodes import MAX_STEPS, SEED
from ppo.run.evaluation import Schedule, play
from ppo.run.folder import run_json
from ppo.train import train
from tests.envs.toy import Counter
from tests.run.test_resume import assert_same

LONG = ("env.task=target", "total_steps=384", "eval.every=128", "lr.value=1e-2")  # three updates, evaluated each


def test_training_and_the_commands_evaluate_alike():
    said = yaml.safe_load((CONF / "config.yaml").read_text())["eval"]
    assert (int(said["seed"]), int(said["max_steps"])) == (SEED, MAX_STEPS)


class Cut(Exception):
    """The run was cut off here."""


@pytest.fixture
def go(config, tmp_path):
    """Train by command-line words in the folder of that name; its rows."""

    def run(*words: str, name: str = "run") -> list[dict]:
        train(config(*words), Run(tmp_path / name, name, {}))
        return jsonl.read(tmp_path / name / "metrics.jsonl")

    return run


def test_when_an_evaluation_begins_its_update_is_on_the_disk(go, tmp_path, monkeypatch):
    seen = []

    def spy(*arguments, **options):
        row = jsonl.read(tmp_path / "run" / "metrics.jsonl")[-1]
        saved = checkpoint.load(checkpoint.find(tmp_path / "run"))[1]["progress"]["updates"]
        seen.append((row["update"], saved, "eval/return" in row))
        return play(*arguments, **options)

    monkeypatch.setattr(ppo.run.evaluation, "play", spy)
    rows = go(*LONG)
    assert seen == [(1, 1, False), (2, 2, False), (3, 3, False)]
    assert len(rows) == 3 and all("eval/return" in row and "kl/final" in row for row in rows)
    best = max(rows, key=lambda row: row["eval/return"])
    meta = checkpoint.load(checkpoint.find(tmp_path / "run", "best"))[1]
    assert meta["progress"]["updates"] == best["update"] and rows[-1]["eval/best"] == best["eval/return"]


def test_a_run_cut_off_in_an_evaluation_repeats_no_update(go, tmp_path, monkeypatch):
    """It is evaluated when the run resumes: all is as if nobody had touched it."""
    go(*LONG, name="whole")
    updates, original = [], ppo.train.update

    def counted(*arguments, **options):
        updates.append(1)
        return original(*arguments, **options)

    def cut(*arguments, **options):
        raise Cut

    monkeypatch.setattr(ppo.train, "update", counted)
    with monkeypatch.context() as patch:
        patch.setattr(ppo.run.evaluation, "play", cut)
        with pytest.raises(Cut):
            go(*LONG, name="parts")
    assert len(updates) == 1
    go(*LONG, name="parts")
    assert len(updates) == 3
    assert_same(tmp_path / "whole", tmp_path / "parts")


class Frail(Counter):
    """The first four of a process are sound, those made for an evaluation raise at step 3."""

    made = 0

    def __init__(self):
        super().__init__(0, 20)
        Frail.made += 1
        self.fails = Frail.made > 4

    def step(self, action):
        if self.fails and self.clock == 2:
            raise ValueError("the floor is gone")
        return super().step(action)


def test_an_evaluation_that_fails_costs_its_numbers_and_is_named(go, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(Frail, "made", 0)
    gymnasium.register("Frail-v0", Frail)
    words = ("env=gym", "env.id=Frail-v0", "eval.every=128")
    rows = go(*words)
    assert [row["update"] for row in rows] == [1, 2] and not any("eval/return" in row for row in rows)
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.startswith("update 2: in an evaluation: "))
    assert "the floor is gone" in line and "eval.episodes=0" in line
    about = run_json(tmp_path / "run")
    assert about["status"] == "finished" and about["evaluation_failed"].startswith("update 2: in an evaluation: ")
    monkeypatch.setattr(Frail, "made", 0)
    assert len(go(*words, "total_steps=384")) == 3  # the same again, further on: nothing is repeated


class Clinging(Counter):
    """Cannot be closed."""

    def close(self):
        raise ValueError("the viewer is stuck")


def test_worlds_that_cannot_be_closed_cost_a_line_each_and_no_run(go, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Clinging-v0", partial(Clinging, 0, 20))
    rows = go("env=gym", "env.id=Clinging-v0")
    said = capfd.readouterr()
    assert "eval/return" in rows[-1] and run_json(tmp_path / "run")["status"] == "finished"
    assert [text.count("the viewer is stuck") for text in said.out.split("after the last evaluation: ")] == [0, 1]
    assert "the viewer is stuck" in said.err


def test_an_evaluation_without_an_end_says_how_to_give_it_one(go, monkeypatch, capsys):
    """Before the wait, where training has seen no episode end either, and after it."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Endless-v0", partial(Counter, 0, 10**9))
    rows = go("env=gym", "env.id=Endless-v0", "eval.max_steps=50")
    said = capsys.readouterr().out
    before, after = (said.index(text) for text in ("no episode has ended in training yet", "no end after 50 steps"))
    assert before < after and said.count("env.kwargs.max_episode_steps=") == 2 and len(rows) == 2


class Screen(Counter):
    """Draws, but for what ``broken`` says."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012
    broken = False

    def __init__(self, render_mode=None):
        super().__init__(0, 12)
        self.render_mode = render_mode

    def render(self):
        if self.broken:
            raise RuntimeError("no context\nof a graphics library")
        return np.full((48, 64, 3), 20 * self.clock, np.uint8)


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Screen-v0", Screen)
    return ("env=gym", "env.id=Screen-v0", "eval.every=128", "eval.episodes=2")


def test_a_film_of_every_evaluation_changes_no_number(go, tmp_path, screen):
    imageio = pytest.importorskip("imageio.v3")
    plain, filmed = go(*screen, name="plain"), go(*screen, "eval.video=true", name="filmed")
    for name in ("loss/total", "eval/return", "eval/length", "eval/best"):
        assert [row[name] for row in plain] == [row[name] for row in filmed]
    assert_same(tmp_path / "plain", tmp_path / "filmed")
    films = sorted((tmp_path / "filmed" / "videos").iterdir())
    assert [film.name for film in films] == ["step_0000000128.mp4", "step_0000000256.mp4"]
    about, frames = imageio.immeta(films[0]), imageio.imread(films[0])
    assert about["fps"] == 25 and frames.shape == (12, 48, 64, 3) and frames[11].mean() > frames[0].mean() + 100


def test_a_film_that_fails_costs_one_line_in_the_run_and_no_number(go, tmp_path, screen, monkeypatch, capsys):
    monkeypatch.setattr(Screen, "broken", True)
    rows = go(*screen, "eval.video=true")
    assert len(rows) == 2 and all("eval/return" in row for row in rows)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "video" in line)
    assert line.startswith("eval.video=true: ") and "RuntimeError: no context" in line
    assert line.endswith("training goes on without videos") and not [*(tmp_path / "run" / "videos").iterdir()]
    assert run_json(tmp_path / "run")["status"] == "finished"


def test_what_cannot_be_filmed_is_refused_before_the_run(go, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"eval.video=true: env=probe has no render_mode"):
        go("eval.video=true")
    monkeypatch.setattr("ppo.run.film.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="eval.video=true needs an extra"):
        go("env=gym", "eval.video=true")
    assert not (tmp_path / "run").exists()


def test_a_schedule_is_due_at_the_steps_it_names_and_at_the_end():
    class At:
        def __init__(self, env_steps, updates=1):
            self.env_steps, self.updates = env_steps, updates

    plan = Schedule(every=100, episodes=1, seed=0, stochastic=False, max_steps=9, rollout=64, total_steps=320)
    assert [steps for steps in range(64, 385, 64) if plan.due(At(steps))] == [128, 256, 320, 384]
    assert [steps for steps in range(64, 385, 64) if plan._replace(every=0).due(At(steps))] == [320, 384]
    assert not plan.due(At(0, updates=0)) and not plan._replace(episodes=0).due(At(320))


@pytest.mark.parametrize("worlds", [1, 2, 3, 6])
def test_episodes_are_the_same_however_many_worlds_play_them(worlds):
    """A world of two kinds in turn, by the parity of its index, played in rounds."""

    def played(number):
        envs = vector(lambda index: Counter(index % 2 if number % 2 == 0 else 0, 4), number, 0, "counter")
        try:
            rows = np.ones((number, 2), np.float32)
            return play(envs, lambda obs, memory: (rows * np.sign(obs[:, 2:].numpy()), memory), 7, 6)
        finally:
            envs.close()

    class Lucky(Counter):
        """Its return is what it drew."""

        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, float(self.luck), *rest

    def returns(number):
        envs = vector(lambda index: Lucky(0, 4), number, 0, "lucky")
        try:
            return play(envs, lambda obs, memory: (np.zeros((number, 2), np.float32), memory), 7, 6)[0]
        finally:
            envs.close()

    np.testing.assert_allclose(returns(worlds), returns(6), rtol=0, atol=0)
    assert len(set(returns(worlds))) == 6
    if worlds % 2 == 0:
        np.testing.assert_array_equal(played(worlds)[0], played(6)[0])


def test_sampled_actions_are_those_of_their_seed_and_said_in_the_row(go):
    one, two, mode = (
        go("env.task=target", *words, name=name)[-1]
        for name, words in (("a", ["eval.stochastic=true"]), ("b", ["eval.stochastic=true"]), ("c", []))
    )
    assert one["eval/return"] == two["eval/return"] != mode["eval/return"]
    assert one["eval/stochastic"] == 1 and "eval/stochastic" not in mode
    assert one["kl/final"] == mode["kl/final"]  # training is the same


def test_an_episode_without_an_end_is_an_error():
    envs = vector(partial(Counter, length=1000), 2, 0, "endless")
    with pytest.raises(EnvError, match="endless: an episode has no end after 50 steps"):
        play(envs, lambda obs, memory: (np.zeros((2, 2)), memory), 0, max_steps=50)


def test_a_doctor_who_fails_costs_no_update(go, monkeypatch, capsys):
    monkeypatch.setattr(ppo.doctor.watch.Watch, "__call__", lambda watch, row: 1 / 0)
    assert len(go("eval.episodes=0")) == 2
    assert capsys.readouterr().err == (
        "doctor: failed, the run goes on without it: ZeroDivisionError: division by zero\n"
    )
