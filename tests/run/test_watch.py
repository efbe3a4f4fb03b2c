"""Watching: in real time, with three keys, and the terminal as it was afterwards."""

import os
import pty
import termios

import numpy as np
import pytest

from envs.vector import vector
from ppo.run import watch as module
from ppo.run.watch import Pace, typed, watch
from tests.envs.toy import Counter


class Clock:
    """Stands in for time; ``keys``: {the second at which it is typed: key}."""

    def __init__(self, monkeypatch, keys=()):
        self.now, self.keys = 100.0, dict(keys)
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds

    def read(self, seconds):
        due = sorted(at for at in self.keys if at <= self.now + seconds)
        if due:
            self.now = max(self.now, due[0])
            return self.keys.pop(due[0])
        self.now += seconds
        return ""


def seen(clock, keys=None, **options):
    """What is said while a Counter of 20 steps and 10 frames a second is watched."""
    lines = []
    env = Counter(0, 20)
    env.metadata = {"render_modes": ["human"], "render_fps": 10}
    envs = vector(lambda index: env, 1, 0, "counter")
    try:
        act = lambda obs, memory: (np.zeros((1, 2), np.float32), memory)  # noqa: E731
        watch(envs, act, 0, lines.append, keys=clock.read, **options)
    finally:
        envs.close()
    return lines


def test_an_episode_takes_its_time_whatever_a_step_takes(monkeypatch):
    clock = Clock(monkeypatch)
    assert seen(clock, episodes=2) == ["episode 1: return 21.00, 20 steps", "episode 2: return 21.00, 20 steps"]
    assert clock.now == pytest.approx(100 + 39 * 0.1)  # before its first step nothing is waited for
    clock = Clock(monkeypatch)
    seen(clock, episodes=1, speed=0.5)
    assert clock.now == pytest.approx(100 + 19 * 0.2)


def test_a_window_that_keeps_time_itself_is_not_waited_for_twice(monkeypatch):
    clock = Clock(monkeypatch)
    pace = Pace(10, clock.read)
    for _ in range(11):
        pace()
        clock.now += 0.09  # what the window took of it
    assert clock.now == pytest.approx(100 + 10 * 0.1 + 0.09)
    clock.now += 60  # a world that stood still is not caught up with
    before = clock.now
    for _ in range(11):
        pace()
    assert clock.now == pytest.approx(before + 1.0)


def test_r_restarts_with_the_next_start_and_q_ends(monkeypatch):
    clock = Clock(monkeypatch, {100.55: "r", 103.05: "q"})
    assert seen(clock) == ["episode 2: return 21.00, 20 steps"]


def test_space_halts_until_the_next_key(monkeypatch):
    clock = Clock(monkeypatch, {100.55: " ", 150.0: " "})
    assert len(seen(clock, episodes=1)) == 1
    assert clock.now == pytest.approx(150 + 1.9 - 0.5, abs=0.11)


def test_a_terminal_gives_single_keys_and_is_as_it_was_afterwards():
    master, slave = pty.openpty()
    try:
        with os.fdopen(slave, "r", closefd=False) as stream:
            before = termios.tcgetattr(slave)
            with typed(stream) as read:
                os.write(master, b"R")
                assert read(5.0) == "r" and read(0.0) == ""
                assert not termios.tcgetattr(slave)[3] & termios.ICANON
            assert termios.tcgetattr(slave) == before
    finally:
        os.close(master), os.close(slave)


def test_without_a_terminal_there_are_no_keys(tmp_path):
    (tmp_path / "in").write_text("q")
    with (tmp_path / "in").open() as stream, typed(stream) as read:
        assert read(0.0) == ""
