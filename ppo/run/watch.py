"""A policy in the environment's own window, in real time, with three keys of the terminal."""

import itertools
import os
import select
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import TextIO

from envs.base import VectorEnv
from ppo.run.episodes import FPS, MAX_STEPS, play
from ppo.run.policy import Act

_LATE = 0.2  # s: what is later than this is not caught up with

HELP = "keys, typed in this terminal: r restarts with another start, space pauses, q quits"
Read = Callable[[float], str]  # the key that is typed within so many seconds; "" where none is


class _Quit(Exception):
    pass


class _Restart(Exception):
    pass


def watch(
    envs: VectorEnv,
    act: Act,
    seed: int,
    say: Callable[[str], None],
    *,
    episodes: int | None = None,
    speed: float = 1.0,
    max_steps: int = MAX_STEPS,
    keys: Read | None = None,
) -> None:
    """Play episode after episode in the one sub-environment, made with ``render_mode="human"``, and ``say`` how each ended.

    They are those of an evaluation with this ``seed``. ``episodes``: by default until somebody quits. ``speed``: of real time,
    at most 1, as windows keep to it themselves. ``keys(seconds)`` waits so long for one; by default ``typed`` does.
    """
    with typed(sys.stdin) if keys is None else _given(keys) as read:
        pace = Pace(speed * (envs.fps or FPS), read)
        try:
            for number in itertools.count() if episodes is None else range(episodes):
                try:
                    returns, lengths = play(envs, act, seed, 1, pace, max_steps=max_steps, begin=number)
                except _Restart:
                    continue
                say(f"episode {number + 1}: return {returns[0]:.2f}, {lengths[0]} steps")
        except _Quit:
            pass


class Pace:
    """Called before every step: waits until it is due and does what the keys say. What took its time already, as a window
    that keeps time itself does, is not waited for twice."""

    def __init__(self, fps: float, read: Read):
        self._period, self._read = 1.0 / fps, read
        self._due = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now > self._due + _LATE:
            self._due = now
        key = self._read(max(0.0, self._due - now))
        while key == " ":  # until any other comes
            while (key := self._read(0.1)) == "":
                pass
            key = "" if key == " " else key
            self._due = time.monotonic()
        if key in ("q", "\x03", "\x1b"):
            raise _Quit
        if key == "r":
            raise _Restart
        while (left := self._due - time.monotonic()) > 0:  # another key came
            time.sleep(left)
        self._due += self._period


@contextmanager
def typed(stream: TextIO) -> Generator[Read, None, None]:
    """What reads single keys of a terminal, which is as it was afterwards; of anything else, no keys at all."""
    try:
        import termios
        import tty

        descriptor, terminal = stream.fileno(), stream.isatty()
    except (ImportError, OSError, ValueError, AttributeError):
        terminal = False
    if not terminal:
        yield lambda seconds: time.sleep(seconds) or ""
        return

    def read(seconds: float) -> str:
        ready = select.select([descriptor], [], [], seconds)[0]
        return os.read(descriptor, 1).decode(errors="replace").lower() if ready else ""

    with _single_keys(termios, tty, descriptor):
        yield read


@contextmanager
def _single_keys(termios: ModuleType, tty: ModuleType, descriptor: int) -> Generator[None, None, None]:
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _given(keys: Read) -> Generator[Read, None, None]:
    yield keys
