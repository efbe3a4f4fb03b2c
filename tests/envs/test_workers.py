"""What happens when a worker, or the trainer, does not behave; and that nothing is left behind."""

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from envs.base import EnvError, WorkerLost, seeds
from envs.process import comes, start_here
from envs.vector import vector
from tests.envs.toy import Counter, Faulty, Sluggish

ACTION = np.zeros((4, 2), np.float32)


def processes(env):
    return [worker.process.pid for worker in env._crew._workers]


def alive(pid):
    """Whether the process runs; a zombie, or one without the worker's command line, does not."""
    try:
        return b"envs.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def gone(pids, within=5.0):
    end = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture(autouse=True)
def nothing_in_shared_memory():
    before = set(os.listdir("/dev/shm"))
    yield
    assert set(os.listdir("/dev/shm")) <= before


def test_a_worker_leaves_the_signals_that_end_a_run_to_the_run():
    """Some launchers send them to every process of a job. The run finishes its update, for which it needs its workers."""
    with closing(vector(Counter, 4, 2, "Counter")) as env:
        env.reset(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            for pid in processes(env):
                os.kill(pid, number)
            env.step(ACTION)
        assert all(map(alive, processes(env)))


@pytest.mark.parametrize("workers", [1, 2, 4, 9])
def test_results_do_not_depend_on_the_number_of_workers(workers):
    here, there = vector(Counter, 5, 0, "Counter"), vector(Counter, 5, workers, "Counter")
    np.testing.assert_array_equal(here.reset(2), there.reset(2))
    rng = np.random.default_rng(0)
    for _ in range(23):
        action = rng.uniform(-1, 1, (5, 2))
        for a, b in zip(here.step(action), there.step(action)):
            np.testing.assert_array_equal(a, b)
    assert here.state() == there.state()
    pids = processes(there)
    assert len(pids) == min(workers, 4)  # the fifth share is stepped here
    there.close()
    assert gone(pids, 0)


@pytest.mark.parametrize(
    "what, says", [("die", "ended with exit code 3"), ("hang", r"did not answer in time .env_timeout=1 s")]
)
def test_a_lost_worker_is_named_with_its_environment_and_seed(what, says):
    env = vector(partial(Faulty, what=what), 4, 3, "Faulty")
    env.time_limit = 1.0
    env.reset(6)
    pids = processes(env)
    start = time.monotonic()
    expected = f"Faulty: the worker of sub-environments 1 to 1 {says}.* at 1 .seed {seeds(6, 4)[1]}, step 3 "
    env.step(ACTION)
    env.step(ACTION)
    with pytest.raises(WorkerLost, match=expected):
        env.step(ACTION)
    assert time.monotonic() - start < 4 and gone(pids, 0)
    with pytest.raises(EnvError, match="closed"):
        env.reset(0)
    env.close()


def test_a_slow_worker_that_lives_is_waited_for_and_that_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr("envs.workers._LONG", 0.1)
    monkeypatch.setattr("envs.workers._GLANCE", 0.05)
    env, alone = vector(Sluggish, 2, 1, "Sluggish"), vector(Sluggish, 2, 0, "Sluggish")
    env.reset(0), alone.reset(0)
    with closing(env):
        for _ in range(2):
            np.testing.assert_array_equal(env.step(ACTION[:2]).obs, alone.step(ACTION[:2]).obs)
    said = capsys.readouterr().err
    assert said.count("the worker of sub-environments 1 to 1 is busy") == 1
    assert f"at 1 (seed {seeds(0, 2)[1]}, step 1 of its episode)" in said and "env_timeout=SECONDS" in said


def test_a_slow_first_step_is_said(monkeypatch, capsys):
    monkeypatch.setattr("envs.vector._LONG", 0.1)
    env = vector(lambda index: Sluggish(1), 1, 0, "Sluggish")
    env.reset(0)
    env.step(ACTION[:1]), env.step(ACTION[:1])
    assert capsys.readouterr().err == "Sluggish: the first step takes more than 0.1 s; still waiting\n"


def test_an_error_in_this_process_s_share_leaves_the_workers_in_step():
    env = vector(partial(Faulty, what="raise"), 4, 1, "Faulty")
    env.reset(6)
    env.step(ACTION), env.step(ACTION)
    with pytest.raises(EnvError, match="sub-environment 1 .* raised ValueError: the floor is gone"):
        env.step(ACTION)
    first = env.reset(1).copy()
    np.testing.assert_array_equal(env.reset(1), first)
    env.close()


def test_kill_9_between_steps():
    env = vector(Counter, 4, 2, "Counter")
    env.reset(0)
    env.step(ACTION)
    pids = processes(env)
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(EnvError, match="sub-environments 2 to 3 was killed by SIGKILL .out of memory"):
        env.step(ACTION)
    assert gone(pids, 0)


@pytest.mark.parametrize("which", [0, 1])  # stepped here, or by a worker
def test_what_cannot_be_made_leaves_no_process(which):
    def broken(index):
        if index == which:
            raise RuntimeError(f"no floor for {index}")
        return Counter(index)

    before = children()
    with pytest.raises(EnvError, match=f"making sub-environment {which} raised RuntimeError: no floor for {which}"):
        vector(broken, 2, 1, "broken")
    assert children() == before


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_an_interrupted_call_does_not_shift_the_answers():
    env = vector(Counter, 4, 2, "Counter")
    env.reset(0)
    for worker in env._crew._workers:
        worker.send(b"")  # as if Ctrl-C had come before the answers were read
    first = env.reset(1).copy()
    assert len(env.state()) == 4
    np.testing.assert_array_equal(env.reset(1), first)
    env.close()


@pytest.mark.parametrize("after", [0.0, 2e-4, 2e-2], ids=["there already", "while it is awake", "while it sleeps"])
def test_what_comes_within_the_limit_is_noticed_when_itcomes(after):
    here, there = Pipe(duplex=False)
    poll = select.poll()
    poll.register(here.fileno(), select.POLLIN)
    with here, there:
        sender = threading.Timer(after, there.send_bytes, [b"now"])
        sender.start()
        assert comes(poll, 20.0)
        sender.join()
        assert here.recv_bytes() == b"now"
        start = time.monotonic()
        assert not comes(poll, 0.05) and time.monotonic() - start >= 0.05
        assert not comes(poll, -1.0)


def test_a_worker_that_nobody_asks_sleeps():
    env = vector(Counter, 4, 1, "Counter")
    env.reset(0)
    (pid,) = processes(env)
    time.sleep(0.1)

    def used():  # processor time in clock ticks
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))

    before = used()
    time.sleep(0.3)
    assert used() - before <= 2
    env.close()


class Cancelled(Counter):
    def step(self, action):
        raise asyncio.CancelledError("in the middle")


def test_what_ends_a_worker_unforeseen_is_told(capfd):
    """It is no exception that an environment may raise, and no clean end either."""
    env = vector(Cancelled, range(1, 3), 1, "Cancelled")
    env._crew._own.envs[:] = [Counter(1)]  # in this process all goes well
    env.reset(0)
    with pytest.raises(WorkerLost, match="ended with exit code 1"):
        env.step(np.zeros((2, 2)))
    assert "CancelledError: in the middle" in capfd.readouterr().err


STUCK = """
import threading, time
import numpy as np
from envs.vector import vector
from tests.envs.toy import Counter
class Stuck(Counter):
    def __init__(self, *args):
        super().__init__(*args)
        {thread}
    def step(self, action):
        {step}
        return super().step(action)
env = vector(Stuck, 2, 1, "Stuck")
print([worker.process.pid for worker in env._crew._workers], flush=True)
env.reset(0)
env.step(np.zeros((2, 2)))
time.sleep(60)
"""


@pytest.mark.parametrize(
    "what", [{"thread": "threading.Thread(target=time.sleep, args=(60,)).start()"}, {"step": "time.sleep(60)"}], ids=str
)
def test_a_worker_that_has_something_else_to_do_ends_with_its_parent_all_the_same(what):
    """A thread of the environment's, as bridges to simulators have; a step that does not return."""
    parent = subprocess.Popen(
        [sys.executable, "-c", STUCK.format(**{"thread": "pass", "step": "pass"} | what)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    pids = list(map(int, re.findall(r"\d+", parent.stdout.readline())))
    assert len(pids) == 1 and all(map(alive, pids))
    time.sleep(0.5)
    parent.kill(), parent.wait()  # its output stays open as long as the worker has it
    assert gone(pids, within=20)
    parent.stdout.close()


SCRIPT = """
import numpy as np
from envs.vector import vector
from tests.envs.toy import Counter
env = vector(Counter, 4, 2, "Counter")
print([worker.process.pid for worker in env._crew._workers], flush=True)
env.reset(0)
for _ in range({steps}):
    env.step(np.zeros((4, 2)))
{end}
"""


@pytest.mark.parametrize("how", ["forgets to close", "raises", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(how):
    endless = isinstance(how, signal.Signals)
    script = SCRIPT.format(steps=10**9 if endless else 10, end="raise ValueError" if how == "raises" else "")
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    pids = list(map(int, re.findall(r"\d+", parent.stdout.readline())))
    assert len(pids) == 2
    if endless:
        time.sleep(0.2)
        assert all(map(alive, pids))
        os.killpg(parent.pid, how)  # Ctrl-C in a terminal reaches the whole group
    _, errors = parent.communicate(timeout=20)
    assert gone(pids)
    # A worker that were interrupted itself would print its own traceback.
    assert errors.count("Traceback") == (1 if how in ("raises", signal.SIGINT) else 0)


SPAWNED = """
import multiprocessing
import numpy as np
from envs.vector import vector
from tests.envs.toy import Counter
class Mine(Counter):
    pass
def one(_):
    env = vector(Mine, 2, 1, "Mine")
    env.reset(0)
    env.close()
    return 7
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(one, [1]))
"""


def test_a_script_may_train_in_processes_that_it_spawns(tmp_path):
    """There the script's classes are in a module that no worker has."""
    (script := tmp_path / "script.py").write_text(SPAWNED)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, script], cwd=root, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.stdout == "[7]\n", done.stderr


def test_workers_start_where_the_run_does(tmp_path, monkeypatch):
    """Wherever the package was imported."""
    monkeypatch.chdir(tmp_path)
    start_here()
    try:
        env = vector(Counter, 2, 1, "Counter")
        (pid,) = processes(env)
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        env.close()
    finally:
        monkeypatch.undo()
        start_here()
