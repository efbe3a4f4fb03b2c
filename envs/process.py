"""A worker process as its parent sees it: two pipes, and what is waited for without sleeping."""

import json
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from typing import Any

STEP = b""  # the message that asks for a step, and the answer that it went well
_start = os.getcwd()  # of the run, see ``start_here``
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from envs.worker import main; main(*map(int, sys.argv[2:]))"
_AWAKE = 1e-3  # s: what is waited for without sleeping; longer than a policy takes to act, shorter than anyone minds
GRACE = 5.0  # s that a worker has to close its environments and end


def start_here() -> None:
    """This is the folder that a run is started in, and with it its workers: its environments may go elsewhere."""
    global _start
    _start = os.getcwd()


class Process:
    """The process that steps sub-environments ``first .. end - 1``, and the parent's ends of its pipes."""

    def __init__(self, file: int, first: int, end: int):
        self.first, self.end = first, end
        self.owes = 0  # messages not answered yet
        # Two one-way pipes: half the round trip of a socket pair.
        question, self._out = Pipe(duplex=False)
        self._in, answer = Pipe(duplex=False)
        path = json.dumps([os.path.join(_start, entry) for entry in sys.path])
        with question, answer:
            descriptors = (question.fileno(), answer.fileno(), file)
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, path, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd=_start,
                process_group=0,  # Ctrl-C is for the trainer, which closes us
            )
        self._poll = select.poll()
        self._poll.register(self._in.fileno(), select.POLLIN)

    def send(self, message: bytes) -> None:
        """Ask for something; OSError where the process is no more."""
        self.owes += 1
        self._out.send_bytes(message)

    def answers(self, limit: float) -> bool:
        """Whether there is something to receive within ``limit`` seconds; the end of the pipe counts."""
        return comes(self._poll, limit)

    def receive(self) -> Any:
        """The answer to the oldest message, waited for; EOFError or OSError where the process is no more."""
        message = self._in.recv_bytes()
        self.owes -= 1
        return None if message == STEP else pickle.loads(message)

    def hang_up(self) -> None:
        """Close the pipes, which ends the process when it next asks for a message."""
        self._out.close()
        self._in.close()

    def how_it_ended(self) -> str:
        """In words; kills it where it does not end by itself."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        why = " (out of memory?)" if code == -signal.SIGKILL else ""  # whom the kernel kills is not told why
        return f"was killed by {signal.Signals(-code).name}{why}"


def end_with_parent() -> None:
    """End this process when its parent is no more, whatever it is doing. (C code that keeps Python's lock is waited for.)"""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def be_somewhere() -> None:
    """Go back to where this process began, if the working directory is no more: an environment may go where it likes, but
    libraries ask for the name of the folder that it left us in."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir(_start)


def comes(poll: select.poll, limit: float = math.inf) -> bool:
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


def end(workers: list[Process]) -> None:
    """Let every worker end; kill what does not. A worker that owes an answer may never give it."""
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        try:
            worker.process.wait(0.5 if worker.owes else GRACE)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
    workers.clear()
