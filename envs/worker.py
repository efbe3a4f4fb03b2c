"""The process of a worker: it makes a shard and steps it when asked. ``envs.workers`` starts it and speaks with it."""

import mmap
import os
import pickle
import select
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from envs.base import EnvError
from envs.fault import RAISED, raised
from envs.process import STEP, comes, end_with_parent
from envs.shard import Shard


def main(question: int, answer: int, file: int) -> None:
    """The worker: make the shard, then answer until the parent's end of the pipe closes. Then the process ends, whatever
    threads an environment has; and when the parent is no more, also in the middle of a step."""
    end_with_parent()  # a step that does not return never looks at the pipe
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # meant for the run, which finishes its update first
        signal.signal(number, lambda *_: None)  # what is ignored would be so in the processes of an environment, too
    questions, answers = Connection(question, writable=False), Connection(answer, readable=False)
    poll = select.poll()
    poll.register(question, select.POLLIN)
    shard: Shard | None = None
    code = 0
    try:
        while True:
            comes(poll)
            message = questions.recv_bytes()
            reply: Any = None
            try:
                if message == STEP and shard is not None:
                    shard.step()
                else:
                    method, *arguments = pickle.loads(message)
                    if method == "make":
                        task, first, count = arguments
                        shard = cloudpickle.loads(task)(first, count)
                        reply = shard.spaces
                    elif method == "attach":
                        shard.attach(mmap.mmap(file, 0), *arguments)
                    elif shard is not None:  # else its making failed, and there is nothing to close
                        reply = getattr(shard, method)(*arguments)
            except EnvError as error:
                reply = error
            except RAISED as error:  # the task's module, for one, may raise when it is imported
                reply = raised("a worker process", error)
            answers.send_bytes(STEP if reply is None else pickle.dumps(reply))
    except (EOFError, OSError):
        pass  # the parent closed, or is no more
    except BaseException:  # nothing that is foreseen; the parent tells of the exit code, and this says why
        traceback.print_exc()
        code = 1
    finally:
        if shard is not None:
            with suppress(EnvError):
                shard.close()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
