"""Each check of an environment finds the fault that was seeded for it, and only there."""

import re
import time
from functools import partial
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.probe import probe
from envs.vector import vector
from ppo.doctor import __main__ as command
from ppo.doctor import environment
from ppo.doctor.environment import CHECKS, Verdict, examine
from ppo.doctor.episodes import fuzz
from ppo.doctor.numbers import actions
from ppo.doctor.play import Subject
from tests.doctor.worlds import Point


class Faulty(Point):
    """Point with one fault, named by the check that must find it."""

    def __init__(self, fault: str):
        self.fault = fault
        if fault == "actions, cut off":
            self.action_space = Box(-0.05, 0.05, (4,), np.float32)
        elif fault == "actions, wide":
            self.action_space = Box(-500.0, 500.0, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.luck = np.random if self.fault == "seeds, global" else np.random.default_rng()
        if self.fault == "seeds, memory":
            self.resets = getattr(self, "resets", 0) + 1
        if self.fault == "seeds, one start":
            seed = 0
        obs, info = super().reset(seed=seed)
        if self.fault == "seeds, memory":
            self.here += 0.01 * self.resets
        return self.look(obs), info

    def step(self, action):
        if self.fault == "speed":
            time.sleep(0.004)
        if self.fault == "actions, dead":
            action = action * np.array([1.0, 1.0, 0.0, 1.0])
        if self.fault == "fuzz" and (np.abs(action) > 0.999).all():
            action = action * np.nan
        obs, reward, terminated, truncated, info = super().step(np.clip(action, -1, 1))
        reward *= {"rewards, large": 1e4, "rewards, small": 1e-6, "rewards, none": 0.0}.get(self.fault, 1.0)
        if self.fault == "truncation, clock":
            terminated, truncated = truncated, False
        if self.fault in ("truncation, endless", "autoreset, endless", "state, wears out"):
            truncated = False
        if self.fault == "state, wears out":
            self.steps = getattr(self, "steps", 0) + 1
            reward += 1e-6 * self.steps
        if self.fault == "truncation, both":
            terminated = truncated
        return self.look(obs), reward, terminated, truncated, info

    def look(self, obs):
        if self.fault in ("seeds, generator", "seeds, global"):
            return obs + 0.01 * self.luck.normal(size=4).astype(np.float32)
        if self.fault == "observations, outside":
            return 2 * obs + 5
        if self.fault == "observations, still":
            return obs * np.array([1, 1, 1, 0], np.float32)
        return obs


class Large(Faulty):
    """The first entry counts in ten thousands."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float32)

    def look(self, obs):
        return obs * np.array([1e4, 1, 1, 1], np.float32)


class Offset(Large):
    """The second entry lies 1e8 from 0, so that float32 cannot say where."""

    def look(self, obs):
        return (obs.astype(float) + np.array([0, 1e8, 0, 0])).astype(np.float32)


class OpenSides(Point):
    """Actions of every kind of bounds; it keeps all that it is sent."""

    action_space = Box(
        np.array([-1, 5, -np.inf, -np.inf, 0.5], np.float32), np.array([1, np.inf, -3, np.inf, 0.5], np.float32)
    )
    sent: ClassVar[list] = []

    def step(self, action):
        self.sent.append(action.copy())
        return super().step(np.clip(action[:4] * [1, 0.1, 0.1, 1], -1, 1))


class Slow(Point):
    def step(self, action):
        time.sleep(0.02)
        return super().step(action)


class NextStep:
    """A vector that inserts a row after each end, whose action is ignored, and reports it like a step."""

    def __init__(self, envs):
        self._envs, self._over = envs, False

    def __getattr__(self, name):
        return getattr(self._envs, name)

    def step(self, action):
        if self._over:
            self._over = False
            idle = self._last._replace(terminated=np.zeros(2, bool), truncated=np.zeros(2, bool))
            return idle._replace(next_obs=idle.obs.copy(), reward=np.ones(2))
        step = self._envs.step(action)
        self._last = type(step)(*(x.copy() for x in step))
        self._over = bool((step.terminated | step.truncated).any())
        return step


class NoReset(NextStep):
    """A vector that goes on showing the last observation."""

    def step(self, action):
        step = self._envs.step(action)
        ended = (step.terminated | step.truncated)[:, None]
        return step._replace(obs=np.where(ended, step.next_obs, step.obs))


def faulty(num_envs: int, fault: str, world: type = Faulty, wrap=lambda envs: envs):
    return wrap(vector(lambda index: world(fault), num_envs, 0, "faulty"))


SEEDED = [
    # (check, level, what it must say, how to make the environment)
    ("seeds", "fault", "no seed governs", partial(faulty, fault="seeds, generator")),
    ("seeds", "fault", "draws from np.random", partial(faulty, fault="seeds, global")),
    ("state", "note", "cannot be resumed exactly", partial(faulty, fault="seeds, global")),
    (
        "seeds",
        "fault",
        "after a reset of the same environment: something of it outlives",
        partial(faulty, fault="seeds, memory"),
    ),
    ("seeds", "fault", "something of it outlives an episode", partial(faulty, fault="state, wears out")),
    ("state", "note", "came to another return when", partial(faulty, fault="state, wears out")),
    ("seeds", "note", "every start is the same", partial(faulty, fault="seeds, one start")),
    ("actions", "fault", "cut off", partial(faulty, fault="actions, cut off")),
    ("actions", "fault", "range of 1000", partial(faulty, fault="actions, wide")),
    ("actions", "fault", "action 2 changes neither", partial(faulty, fault="actions, dead")),
    ("observations", "fault", "outside its space", partial(faulty, fault="observations, outside")),
    ("observations", "fault", "entry 0 reaches", partial(faulty, fault="", world=Large)),
    ("observations", "note", "1 of 4 entries never change", partial(faulty, fault="observations, still")),
    ("rewards", "fault", "too large", partial(faulty, fault="rewards, large")),
    ("rewards", "fault", "too small", partial(faulty, fault="rewards, small")),
    ("observations", "fault", "varies by less than is left", partial(faulty, fault="", world=Offset)),
    ("rewards", "note", "no reward but 0", partial(faulty, fault="rewards, none")),
    ("autoreset", "fault", "a row is no step", partial(faulty, fault="", wrap=NextStep)),
    ("autoreset", "fault", "was not reset", partial(faulty, fault="", wrap=NoReset)),
    ("autoreset", "note", "no episode ended", partial(faulty, fault="autoreset, endless")),
    ("truncation", "fault", "that is a clock", partial(faulty, fault="truncation, clock")),
    ("truncation", "fault", "time limit", partial(faulty, fault="truncation, endless")),
    ("truncation", "note", "both", partial(faulty, fault="truncation, both")),
    ("fuzz", "fault", "non-finite observation", partial(faulty, fault="fuzz")),
    ("speed", "fault", "steps a second", partial(faulty, fault="speed")),
]


@pytest.fixture(scope="module")
def sound() -> dict[str, Verdict]:
    return examine(partial(faulty, fault=""))


def test_an_environment_without_a_fault_passes_every_check(sound):
    assert list(sound) == [check.__name__ for check in CHECKS]
    assert {name: verdict.level for name, verdict in sound.items()} == dict.fromkeys(sound, "ok"), sound


@pytest.mark.parametrize(("check", "level", "says", "make"), SEEDED, ids=[f"{s[0]}-{s[2]}" for s in SEEDED])
def test_a_check_finds_its_seeded_fault(monkeypatch, check, level, says, make):
    chosen = {c.__name__: c for c in CHECKS}[check]
    monkeypatch.setattr(environment, "CHECKS", (chosen,))
    verdict = examine(make)[check]
    assert verdict.level == level and says in verdict.what, verdict


def test_probes_are_sound_but_for_what_they_are_meant_to_isolate():
    found = examine(lambda num_envs: probe(num_envs, 0, task="target"))
    assert {name for name, verdict in found.items() if verdict.level == "fault"} <= {"speed"}


def test_only_actions_of_the_space_are_sent():
    """Bounds that are open on one side, on both, or leave nothing to choose; and no warning of an arithmetic of infinities."""
    OpenSides.sent.clear()
    found = examine(lambda num_envs: vector(lambda index: OpenSides(), num_envs, 0, "open"))
    assert len(OpenSides.sent) > 1000 and all(OpenSides.action_space.contains(action) for action in OpenSides.sent)
    assert found["actions"].level == "fault" and "action=tanh cannot help" in found["actions"].what
    assert found["fuzz"].level == "ok"


@pytest.mark.slow
def test_a_slow_environment_is_examined_within_the_time():
    began = time.monotonic()
    found = examine(lambda num_envs: vector(lambda index: Slow(), num_envs, 0, "slow"), seconds=2.0)
    assert time.monotonic() - began < 6
    assert found["truncation"].level in ("ok", "note") and list(found) == [check.__name__ for check in CHECKS]


def test_what_the_time_is_not_enough_for_is_said():
    found = examine(lambda num_envs: vector(lambda index: Slow(), num_envs, 0, "slow"), seconds=-1.0)
    assert all(verdict.what.startswith("not examined") for verdict in found.values())


def test_a_check_that_could_not_look_does_not_say_ok():
    late = Subject(lambda num_envs: vector(lambda index: Slow(), num_envs, 0, "slow"), {}, until=-1.0)
    for check, said in ((fuzz, "^no step at the corners"), (actions, "only 0 of them tried, for want of time")):
        verdict = check(late)
        assert verdict.level == "note" and re.search(said, verdict.what)


def test_nothing_is_advised_that_is_set_already(monkeypatch):
    monkeypatch.setattr(environment, "CHECKS", (environment.observations, environment.rewards))
    large = partial(faulty, fault="rewards, large")
    assert examine(large)["rewards"].tries == "normalise.reward=true"
    assert examine(large, {"normalise": {"reward": True}})["rewards"].level == "ok"
    assert examine(partial(faulty, fault="", world=Large), {"normalise": {"obs": True}})["observations"].level == "ok"


def test_rewards_that_scaling_would_clip_are_foreseen(monkeypatch):
    """One step and an offset: divided by the deviation of its return, every reward lies at the clip."""

    class Bandit(Point):
        def step(self, action):
            obs, reward, _, _, info = super().step(action)
            return obs, 100 + 0.1 * reward, True, False, info

    monkeypatch.setattr(environment, "CHECKS", (environment.rewards,))
    found = examine(lambda num_envs: vector(lambda index: Bandit(), num_envs, 0, "b"), {"normalise": {"reward": True}})
    assert found["rewards"].level == "fault" and found["rewards"].tries == "normalise.reward=false"


# The command line


@pytest.fixture
def world():
    gymnasium.register("Faulty-v0", Faulty)
    yield ["gym", "env.id=Faulty-v0", "+env.kwargs.fault='rewards, large'"]
    gymnasium.registry.pop("Faulty-v0")


def test_a_fault_makes_the_exit_code_one_and_says_what_to_type(world, capsys):
    assert command.main(["--env", *world, "normalise.reward=false"]) == 1
    out = capsys.readouterr().out
    assert "Faulty-v0" in out and "type normalise.reward=true" in out and "1 fault" in out
    assert command.main(["--env", *world[:2], "+env.kwargs.fault=''"]) == 0
    assert "no faults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["antt"], "did you mean ant?"),
        (["gym", "env.id=CartPole-v1"], "Discrete"),
        (["gym", "env.idd=x"], "env.idd"),
        (["gym", "env.id=NoSuch-v0"], "NoSuch"),
    ],
)
def test_a_wrong_word_is_one_line(words, says, capsys):
    assert command.main(["--env", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and says in err
