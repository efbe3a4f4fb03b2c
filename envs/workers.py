"""Worker processes that step shards over shared memory, beside this process, which steps the first shard itself.

It would only wait otherwise: a core and half of the wake-ups saved are a fifth of a vector step of eight robots.

A worker is a fresh interpreter (``python -c``), not a fork: a fork copies the trainer's threads and locks, and the
standard library's spawn imports the trainer's main module, torch included, into every worker. The shared block is an
anonymous file and a worker ends when its pipe does, so that nothing is left behind however the parent ends.
"""

import json
import math
import mmap
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, NoReturn

import cloudpickle
import gymnasium
from gymnasium.spaces import Box

from envs.arena import Arena, arena_bytes
from envs.base import ActionSpace, EnvError, WorkerLost
from envs.shard import Shard

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from envs.workers import main; main(*map(int, sys.argv[2:]))"
_STEP = b""  # the message that asks for a step, and the answer that it went well
_AWAKE = 1e-3  # s: what is waited for without sleeping; longer than a policy takes to act, shorter than anyone minds
_PATIENCE = 10  # making environments or replaying episodes may take this many time limits


class Workers:
    """The crew of a vector: this process and ``workers`` others, each with its share of the sub-environments."""

    def __init__(self, make: Callable[[int], gymnasium.Env], name: str, envs: range, workers: int, time_limit: float):
        self.name, self._envs, self._limit = name, envs, time_limit
        self._arena: Arena | None = None
        self._seed: Sequence[int] = [0] * len(envs)
        self._workers: list[_Worker] = []
        self._file = _anonymous_file()
        self._own: Shard | None = None
        self._mine = len(envs) // (workers + 1)
        self._finish = weakref.finalize(self, _finish, self._workers)  # runs at interpreter exit too
        bounds = [envs.start + len(envs) * w // (workers + 1) for w in range(1, workers + 2)]
        task = cloudpickle.dumps((make, name))
        try:
            for first, end in zip(bounds, bounds[1:]):
                self._workers.append(_Worker(self._file.fileno(), first, end))
            mine = partial(self._make_own, make, self._mine)
            kinds = self._share(lambda w: ("make", task, w.first, w.end - w.first), mine, _PATIENCE * time_limit)
            if any(kind != kinds[0] for kind in kinds):
                raise EnvError(f"{name}: its sub-environments have different observation or action spaces")
            self.spaces = kinds[0]
        except BaseException:
            self.close()
            raise

    def _make_own(self, make: Callable[[int], gymnasium.Env], count: int) -> tuple[Box, ActionSpace]:
        self._own = Shard(make, self.name, self._envs.start, count)
        return self._own.spaces

    def attach(self) -> Arena:
        """Lay out the arrays, shared with every worker."""
        num_envs = self._envs.stop
        size = arena_bytes(num_envs, *self.spaces)
        self._file.truncate(size)
        memory = mmap.mmap(self._file.fileno(), size)
        self._arena, *_ = self._share(
            lambda w: ("attach", num_envs), lambda: self._own.attach(memory, num_envs), self._limit
        )
        return self._arena

    def reset(self, seeds: Sequence[int]) -> None:
        self._seed = seeds
        self._share(
            lambda w: ("reset", seeds[self._rows(w)]), lambda: self._own.reset(seeds[: self._mine]), self._limit
        )

    def step(self) -> None:
        self._share(lambda w: _STEP, self._own.step, self._limit)

    def state(self) -> list[dict]:
        parts = self._share(lambda w: ("state",), self._own.state, self._limit)
        return [state for part in parts for state in part]

    def set_state(self, states: Sequence[dict]) -> None:
        self._seed = [state.get("seed", 0) for state in states]
        self._share(
            lambda w: ("set_state", states[self._rows(w)]),
            lambda: self._own.set_state(states[: self._mine]),
            _PATIENCE * self._limit,
        )

    def _rows(self, worker: "_Worker") -> slice:
        """Those of a worker among ours."""
        return slice(worker.first - self._envs.start, worker.end - self._envs.start)

    def render(self, index: int) -> Any:
        frames = self._share(lambda w: ("render", index), lambda: self._own.render(index), self._limit)
        return next((frame for frame in frames if frame is not None), None)

    def close(self) -> None:
        self._finish()
        if self._own is not None:
            self._own.close()
        self._file.close()

    def _share(self, call: Callable[["_Worker"], tuple | bytes], own: Callable[[], Any], limit: float) -> list[Any]:
        """Every worker does what ``call`` asks of it while this process does ``own``; what came out, in the order of the
        sub-environments. Where ``own`` raises, the workers' answers wait until the next call."""
        if not self._workers:
            raise EnvError(f"{self.name}: closed after it lost a worker")
        for worker in self._workers:
            message = call(worker)
            self._send(worker, message if isinstance(message, bytes) else pickle.dumps(message))
        return [own(), *self._answers(limit)]

    def _send(self, worker: "_Worker", message: bytes) -> None:
        try:
            # An interrupted call (Ctrl-C in a notebook) may have left its answer behind.
            while worker.owes:
                worker.receive(self._limit)
            worker.send(message)
        except (EOFError, OSError) as error:
            self._lost(worker, error)

    def _answers(self, limit: float) -> list[Any]:
        """What the workers answer. An error in one is raised when all have answered; a lost worker ends them all."""
        deadline = time.monotonic() + limit
        answers = []
        for worker in self._workers:
            try:
                answers.append(worker.receive(deadline - time.monotonic()))
            except (EOFError, OSError) as error:
                self._lost(worker, error)
        for answer in answers:
            if isinstance(answer, _Failure):
                raise answer.kind(answer.message) from RuntimeError(f"in the worker:\n{answer.traceback}")
        return answers

    def _lost(self, worker: "_Worker", error: Exception) -> NoReturn:
        if isinstance(error, TimeoutError):
            what = f"did not answer in time ({self._limit:g} s for a step)"
        else:
            code = worker.process.wait(self._limit)
            what = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            what += " (out of memory?)" if code == -signal.SIGKILL else ""  # whom the kernel kills is not told why
        where = "while making them"
        if self._arena is not None:
            index = int(self._arena.cursor[worker.first])
            seed, step = self._seed[index - self._envs.start], self._arena.length[index]
            where = f"at {index} (seed {seed}, step {step} of its episode)"
        self.close()
        raise WorkerLost(
            f"{self.name}: the worker of sub-environments {worker.first} to {worker.end - 1} {what}, {where}"
        ) from error


class _Failure(NamedTuple):
    """An exception on its way to the parent."""

    kind: type[EnvError]
    message: str
    traceback: str


class _Worker:
    """One process and the parent's ends of its pipes."""

    def __init__(self, file: int, first: int, end: int):
        self.first, self.end = first, end
        self.owes = 0  # messages not answered yet
        # Two one-way pipes: half the round trip of a socket pair.
        question, self._out = Pipe(duplex=False)
        self._in, answer = Pipe(duplex=False)
        with question, answer:
            descriptors = (question.fileno(), answer.fileno(), file)
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C is for the trainer, which closes us
            )
        self._poll = select.poll()
        self._poll.register(self._in.fileno(), select.POLLIN)

    def send(self, message: bytes) -> None:
        self.owes += 1
        self._out.send_bytes(message)

    def receive(self, limit: float) -> Any:
        """The answer to the oldest message; TimeoutError, or EOFError or OSError where the process is no more."""
        if not _comes(self._poll, limit):
            raise TimeoutError
        message = self._in.recv_bytes()
        self.owes -= 1
        return None if message == _STEP else pickle.loads(message)

    def hang_up(self) -> None:
        """Close the pipes, which ends the process when it next asks for a message."""
        self._out.close()
        self._in.close()


def _comes(poll: select.poll, limit: float = math.inf) -> bool:
    """Whether there is something to read within ``limit`` seconds.

    Who sleeps is awake again some 50 us after the message, on a virtual machine 100: as long as the stepping of four
    robots. So this asks for a while before it sleeps, and lets whoever else wants the core have it.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < min(_AWAKE, limit):
        if poll.poll(0):
            return True
        os.sched_yield()
    return bool(poll.poll(None if limit == math.inf else max(0.0, 1e3 * (limit - waited))))


def _finish(workers: list[_Worker]) -> None:
    """Let every worker end; kill what does not. A worker that owes an answer may never give it."""
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        try:
            worker.process.wait(0.5 if worker.owes else 5.0)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    workers.clear()


def _anonymous_file() -> Any:
    """A file without a name: it is gone with the last process that holds it."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("envs"), "r+b")
    return tempfile.TemporaryFile()


def main(question: int, answer: int, file: int) -> None:
    """The worker: make the shard, then answer until the parent's end of the pipe closes."""
    questions, answers = Connection(question, writable=False), Connection(answer, readable=False)
    poll = select.poll()
    poll.register(question, select.POLLIN)
    shard: Shard | None = None
    try:
        while True:
            _comes(poll)
            message = questions.recv_bytes()
            reply: Any = None
            try:
                if message == _STEP and shard is not None:
                    shard.step()
                else:
                    method, *arguments = pickle.loads(message)
                    if method == "make":
                        task, first, count = arguments
                        shard = Shard(*cloudpickle.loads(task), first, count)
                        reply = shard.spaces
                    elif method == "attach":
                        shard.attach(mmap.mmap(file, 0), *arguments)
                    else:
                        reply = getattr(shard, method)(*arguments)
            except Exception as error:
                known = isinstance(error, EnvError)
                said = str(error) if known else f"{type(error).__name__}: {error}"
                reply = _Failure(type(error) if known else EnvError, said, traceback.format_exc())
            answers.send_bytes(_STEP if reply is None else pickle.dumps(reply))
    except (EOFError, OSError):
        pass  # the parent closed, or is no more
    finally:
        if shard is not None:
            shard.close()
