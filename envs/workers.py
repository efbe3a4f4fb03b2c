"""Worker processes that step shards over shared memory, beside this process, which steps the first shard itself.

It would only wait otherwise: a core and half of the wake-ups saved are a fifth of a vector step of eight robots.

A worker is a fresh interpreter (``python -c``), not a fork: a fork copies the trainer's threads and locks, and the
standard library's spawn imports the trainer's main module, torch included, into every worker. The shared block is an
anonymous file and a worker ends when its pipe does, so that nothing is left behind however the parent ends.

A worker is waited for as long as its process lives, as this process's own share is; ``time_limit`` bounds that.
"""

import math
import mmap
import os
import pickle
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import cloudpickle
import numpy as np
from gymnasium.spaces import Box

from envs.arena import Arena, arena_bytes
from envs.base import ActionSpace, EnvError, WorkerLost
from envs.fault import first_of
from envs.process import GRACE, STEP, Process, end
from envs.shard import Shard

_PATIENCE = 10  # replaying episodes may take this many time limits
_GLANCE = 1.0  # s of waiting after which a look is taken whether the process still lives
_LONG = 10.0  # s of waiting after which that is said, once


class Workers:
    """The crew of a vector: this process and ``workers`` others, each with its share of the sub-environments."""

    def __init__(self, share: Callable[[int, int], Shard], name: str, envs: range, workers: int):
        """``share(first, count)``: makes a share of the sub-environments, in the process that will step it."""
        self.name, self._envs = name, envs
        self.time_limit = math.inf  # s that a worker may take to answer
        self._said = False  # that a worker is being waited for
        self._arena: Arena | None = None
        self._seed: Sequence[int] = [0] * len(envs)
        self._workers: list[Process] = []
        self._file = _anonymous_file()
        self._own: Shard | None = None
        self._mine = len(envs) // (workers + 1)
        self._finish = weakref.finalize(self, end, self._workers)  # runs at interpreter exit too
        bounds = [envs.start + len(envs) * w // (workers + 1) for w in range(1, workers + 2)]
        if (program := sys.modules.get("__mp_main__")) is not None:  # of multiprocessing: no worker has it
            cloudpickle.register_pickle_by_value(program)
        task = cloudpickle.dumps(share)
        try:
            for first, last in zip(bounds, bounds[1:]):
                self._workers.append(Process(self._file.fileno(), first, last))
            mine = partial(self._make_own, share)
            kinds = self._share(lambda w: pickle.dumps(("make", task, w.first, w.end - w.first)), mine)
            if any(kind != kinds[0] for kind in kinds):
                raise EnvError(f"{name}: its sub-environments have different observation or action spaces")
            self.spaces = kinds[0]
        except BaseException:
            self.close()
            raise

    def _make_own(self, share: Callable[[int, int], Shard]) -> tuple[Box, ActionSpace]:
        self._own = share(self._envs.start, self._mine)
        return self._own.spaces

    @property
    def fps(self) -> float | None:
        """Pictures a second, as the environments' metadata say."""
        return self._own.fps

    @property
    def given(self) -> Callable[[np.ndarray], Any]:
        """See ``VectorEnv``."""
        return self._own.given

    @property
    def row(self) -> Callable[[Any], np.ndarray]:
        return self._own.row

    @property
    def columns(self) -> dict[str, range]:
        return self._own.columns

    def attach(self) -> Arena:
        """Lay out the arrays, shared with every worker."""
        num_envs = self._envs.stop
        size = arena_bytes(num_envs, *self.spaces)
        self._file.truncate(size)
        memory = mmap.mmap(self._file.fileno(), size)
        self._arena, *_ = self._share(
            lambda w: pickle.dumps(("attach", num_envs)), lambda: self._own.attach(memory, num_envs)
        )
        return self._arena

    def reset(self, seeds: Sequence[int]) -> None:
        """Start every sub-environment anew, each from its own seed."""
        self._seed = seeds
        self._share(
            lambda w: pickle.dumps(("reset", seeds[self._rows(w)])), lambda: self._own.reset(seeds[: self._mine])
        )

    def step(self) -> None:
        """One step with the actions of the arena, in all shares at once."""
        self._share(_ask_step, self._own.step)

    def state(self) -> list[dict]:
        """One plain dict a sub-environment; see ``Shard.state``."""
        parts = self._share(lambda w: pickle.dumps(("state",)), self._own.state)
        return [state for part in parts for state in part]

    def set_state(self, states: Sequence[dict]) -> None:
        """Replay every running episode from its beginning."""
        self._seed = [state.get("seed", 0) for state in states]
        self._share(
            lambda w: pickle.dumps(("set_state", states[self._rows(w)])),
            lambda: self._own.set_state(states[: self._mine]),
            patience=_PATIENCE,
        )

    def render(self, index: int) -> np.ndarray:
        """The picture of sub-environment ``index``."""
        frames = self._share(lambda w: pickle.dumps(("render", index)), lambda: self._own.render(index))
        return next(frame for frame in frames if frame is not None)

    def close(self) -> None:
        """Close every environment and end the workers; then raise what the first environment raised."""
        failures = self._closed()
        self._finish()
        if self._own is not None:
            try:
                self._own.close()
            except EnvError as error:
                failures.insert(0, error)
        self._file.close()
        first_of(failures)

    def _closed(self) -> list[EnvError]:
        """Have every worker close its environments; what these raised. One that is busy, or is no more, is left."""
        asked, failures = [worker for worker in self._workers if not worker.owes], []
        for worker in asked:
            with suppress(OSError):
                worker.send(pickle.dumps(("close",)))
        deadline = time.monotonic() + GRACE
        for worker in asked:
            with suppress(EOFError, OSError):
                if worker.answers(deadline - time.monotonic()) and isinstance(said := worker.receive(), EnvError):
                    failures.append(said)
        return failures

    def _rows(self, worker: Process) -> slice:
        """Those of a worker among ours."""
        return slice(worker.first - self._envs.start, worker.end - self._envs.start)

    def _share(self, ask: Callable[[Process], bytes], own: Callable[[], Any], *, patience: int = 1) -> list[Any]:
        """Every worker does what ``ask`` asks of it while this process does ``own``; what came out, in the order of the
        sub-environments. Where ``own`` raises, the workers' answers wait until the next call."""
        if not self._workers:
            raise EnvError(f"{self.name}: closed after it lost a worker")
        for worker in self._workers:
            self._send(worker, ask(worker))
        return [own(), *self._answers(patience * self.time_limit)]

    def _send(self, worker: Process, message: bytes) -> None:
        try:
            # An interrupted call (Ctrl-C in a notebook) may have left its answer behind.
            while worker.owes:
                self._answer(worker, time.monotonic() + self.time_limit)
            worker.send(message)
        except (EOFError, OSError) as error:
            self._lost(worker, error)

    def _answers(self, limit: float) -> list[Any]:
        """What the workers answer. An error in one is raised when all have answered; a lost worker ends them all."""
        deadline = time.monotonic() + limit
        answers = []
        for worker in self._workers:
            try:
                answers.append(self._answer(worker, deadline))
            except (EOFError, OSError) as error:
                self._lost(worker, error)
        for answer in answers:
            if isinstance(answer, EnvError):
                raise answer
        return answers

    def _answer(self, worker: Process, deadline: float) -> Any:
        """What a worker answers, waited for as long as its process lives but not beyond ``deadline``; after a while that
        is said. TimeoutError, or EOFError or OSError where the process is no more."""
        began = now = time.monotonic()
        while not worker.answers(min(_GLANCE, deadline - now)):
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError
            # A child that it started may hold the pipe open.
            if worker.process.poll() is not None and not worker.answers(0.0):
                raise EOFError
            if now - began >= _LONG and not self._said and self._arena is not None:
                self._say_waiting(worker)
        return worker.receive()

    def _say_waiting(self, worker: Process) -> None:
        self._said = True
        print(
            f"{self._who(worker)} is busy for more than {_LONG:g} s, {self._where(worker)}; it is waited for as long as its "
            "process lives (env_timeout=SECONDS ends that sooner)",
            file=sys.stderr,
            flush=True,
        )

    def _lost(self, worker: Process, error: Exception) -> NoReturn:
        if isinstance(error, TimeoutError):
            what = (
                f"did not answer in time (env_timeout={self.time_limit:g} s; null waits as long as its process lives)"
            )
        else:
            what = worker.how_it_ended()
        lost = WorkerLost(f"{self._who(worker)} {what}, {self._where(worker)}")
        worker.owes += 1  # it answers nothing any more
        self.close()
        raise lost from error

    def _who(self, worker: Process) -> str:
        return f"{self.name}: the worker of sub-environments {worker.first} to {worker.end - 1}"

    def _where(self, worker: Process) -> str:
        if self._arena is None:
            return "while making them"
        index = int(self._arena.cursor[worker.first])
        seed, step = self._seed[index - self._envs.start], self._arena.length[index]
        return f"at {index} (seed {seed}, step {step} of its episode)"


def _ask_step(worker: Process) -> bytes:
    return STEP


def _anonymous_file() -> Any:
    """A file without a name: it is gone with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("envs"), "r+b")
    return tempfile.TemporaryFile()
