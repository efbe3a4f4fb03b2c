"""Ranks: any number of them is one process with all the rows, to the bit; and none waits for ever for another."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.base import WorkerLost, seeds
from envs.vector import vector
from ppo.config.options import option
from ppo.run import checkpoint
from tests.conftest import ROOT
from tests.envs.toy import Grouped, Stillborn
from tests.run.test_resume import assert_same

PENDULUM = ["env=gym", "env.id=Pendulum-v1", "action=tanh"]
SMALL = ["num_envs=4", "num_steps=64", "minibatch_size=64", "epochs=3"]
SMALL += ["logger=none", "compile=false", "workers=0", "network.actor=[16]", "network.critic=[16]"]
SMALL += ["total_steps=1280", "eval.every=512", "eval.episodes=2", "checkpoint.every=512", "rank_timeout=60"]
ADAPTIVE = ["lr=adaptive_kl", "stop=rollback", "target_kl=0.01", "clip=linear", "norm=group", "lr.value=1e-2"]
HOPPER = ["env=hopper"]  # whose episodes end here and there
MEMORY = [*PENDULUM, "network=gru", "network.hidden=8", "reference=initial", "reference.held_out=8"]
ENDLESS = ["total_steps=100_000_000", "eval.episodes=0"]


def port() -> str:
    """A free one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def begun(*words: str, ranks: int = 1, folder: Path) -> list[subprocess.Popen]:
    """A training run in ``folder`` by as many processes, as torchrun would start them."""
    started, at = [], port()
    for rank in range(ranks):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": at}
        command = [sys.executable, "-m", "ppo.train", *SMALL, *words, f"hydra.run.dir={folder}"]
        environment = os.environ | {name: str(value) for name, value in told.items()} | {"OMP_NUM_THREADS": "1"}
        log = folder.with_suffix(f".{rank}.log").open("a")
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    return started


def ended(processes: list[subprocess.Popen], folder: Path, *, within: float = 60) -> tuple[list[int], str]:
    """The exit codes, and what was said."""
    end = time.monotonic() + within
    try:
        codes = [process.wait(max(0.1, end - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return codes, "".join(path.read_text() for path in sorted(folder.parent.glob(f"{folder.name}.*.log")))


def until(folder: Path, rows: int) -> None:
    path, end = folder / "metrics.jsonl", time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < rows:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_part_of_a_vector_is_what_it_is_in_the_whole(workers):
    """Seeds, variants, groups and names of its sub-environments; and a state fits wherever it was taken."""
    whole = vector(Grouped, 4, 0, "toy")
    part = vector(Grouped, range(2, 4), workers, "toy")
    try:
        assert part.num_envs == 2
        np.testing.assert_array_equal(whole.reset(7)[2:], part.reset(7))
        for _ in range(12):
            action = np.random.default_rng(0).uniform(-1, 1, (4, *whole.action_space.shape)).astype(np.float32)
            all_rows, rows = whole.step(action), part.step(action[2:])
            for name, x, y in zip(rows._fields, all_rows, rows, strict=True):
                np.testing.assert_array_equal(x[2:], y, err_msg=name)
        assert whole.state()[2:] == part.state()
        np.testing.assert_array_equal(part.set_state(whole.state()[2:]), all_rows.obs[2:])
    finally:
        whole.close(), part.close()


def test_a_part_keeps_its_variants():
    pytest.importorskip("pybullet")
    with_part = option("env", "arachne", variants=["flat", "slope"])(range(1, 2), 0)
    try:
        with_part.reset(0)
        assert with_part.step(np.zeros((1, *with_part.action_space.shape), np.float32)).group.tolist() == [1]
    finally:
        with_part.close()


def test_seeds_do_not_depend_on_the_others():
    assert seeds(3, range(2, 5)) == seeds(3, 9)[2:5]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([*PENDULUM, *ADAPTIVE], id="adaptive"),
        pytest.param(MEMORY, marks=pytest.mark.slow, id="memory"),
        pytest.param(HOPPER, marks=pytest.mark.slow, id="hopper"),
    ],
)
def test_two_ranks_are_one(tmp_path, words):
    """Advantages, gradients, KL, statistics, stops, episodes, evaluations: every tensor and every row, to the bit."""
    if words is HOPPER:
        pytest.importorskip("pybullet")
    one, two = tmp_path / "one", tmp_path / "two"
    started = [begun(*words, folder=one), begun(*words, ranks=2, folder=two)]
    for processes, folder in zip(started, (one, two), strict=True):
        codes, said = ended(processes, folder)
        assert not any(codes), said
    assert_same(one, two)
    assert json.loads((two / "run.json").read_text())["ranks"] == 2


@pytest.mark.slow
def test_a_signal_to_one_rank_ends_all_and_another_number_goes_on(tmp_path):
    one, parts, long = tmp_path / "one", tmp_path / "parts", "total_steps=6400"
    whole = begun(*PENDULUM, long, folder=one)
    for ranks, rows in ((2, 3), (1, 12), (2, None)):
        processes = begun(*PENDULUM, long, ranks=ranks, folder=parts)
        if rows:
            until(parts, rows)
            processes[-1].send_signal(signal.SIGTERM)
        codes, said = ended(processes, parts)
        assert codes == [143 if rows else 0] * ranks, said
    assert ended(whole, one)[0] == [0]
    assert_same(one, parts)
    assert len(json.loads((parts / "run.json").read_text())["resumed"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, marks=pytest.mark.slow, id="hung"),
    ],
)
def test_a_lost_rank_ends_the_others_in_one_line(tmp_path, number):
    folder = tmp_path / "run"
    processes = begun(*PENDULUM, *ENDLESS, "rank_timeout=5", ranks=2, folder=folder)
    until(folder, 1)
    processes[1].send_signal(number)
    code = processes[0].wait(30)
    processes[1].kill()
    _, said = ended(processes, folder)
    assert code == 2, said
    assert "error: rank 0 of 2 waits for another that ended or hangs" in said and "Traceback" not in said
    checkpoint.load(checkpoint.find(folder))
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"


PROGRAM = """
import sys, torch
from pathlib import Path
from gymnasium.spaces import Box
from envs.base import NotFinite
from envs.fault import keep
from ppo.run import ranks
from ppo.buffer.minibatches import allocate
from ppo.config.options import option

def step():
    if ranks.rank() == 1 and sys.argv[1] == "world":
        error = NotFinite("it gave NaN")
        error.traceback = "line 7 of the environment"
        raise error

seen = Box(-1.0, 1.0, (3,))
rollout = allocate(2, 2, seen, option("network", "mlp", actor=[4], critic=[4])(3, 2, torch.Generator().manual_seed(0)))
with ranks.joined(20.0):
    try:
        ranks.agreed(step)
        ranks.share(rollout, (), [], torch.full((3,), float(ranks.rank() and sys.argv[1] == "parameters")))
    except (ranks.RankLost, NotFinite) as error:
        keep(error, Path(sys.argv[2]))
        sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("none", "", marks=pytest.mark.slow),
        ("parameters", "RankLost: rank {rank} of 2 has other parameters than the others"),
        pytest.param("world", "NotFinite: rank 1: it gave NaN", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_on_one_rank_is_told_on_all(tmp_path, fault, said):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    told = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), fault, str(tmp_path)]
    ranks = [
        subprocess.Popen(command, env=told | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    for rank, process in enumerate(ranks):
        _, error = process.communicate(timeout=60)
        assert process.returncode == bool(said) and said.format(rank=rank) in error, error
        assert ("; the whole traceback: " in error) == (fault == "world" and rank == 0)
    kept = tmp_path / "traceback.txt"
    assert fault != "world" or kept.read_text() == "line 7 of the environment"


def test_a_worker_of_a_part_that_dies_before_its_first_step_is_named():
    envs = vector(Stillborn, range(4, 6), 1, "stillborn")
    with pytest.raises(WorkerLost, match="the worker of sub-environments 5 to 5 ended with exit code 3, at 5 "):
        envs.reset(0)


@pytest.mark.slow
def test_environments_that_cannot_be_shared_evenly_are_refused_in_one_line(tmp_path):
    folder = tmp_path / "run"
    codes, said = ended(begun(*PENDULUM, "num_envs=5", "num_steps=64", ranks=2, folder=folder), folder)
    assert codes == [2, 2], said
    wrong = "error: num_envs=5: must be a multiple of the 2 ranks"
    assert said.splitlines() == [wrong, f"rank 1: {wrong}"]
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["to the end", "asked to end"])
def test_torchrun_starts_them(tmp_path, stopped):
    """The dated folders of the ranks are one, the first's; a rank that is done waits until all are."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "ppo.train"]
    command += [*PENDULUM, *SMALL, *(ENDLESS if stopped else ()), f"hydra.run.dir={tmp_path}/${{now:%H-%M-%S-%f}}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if stopped:
        while not (rows := list(tmp_path.glob("*/metrics.jsonl"))):
            time.sleep(0.1)
        until(rows[0].parent, 2)
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert bool(process.returncode) == stopped, said
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == ("interrupted" if stopped else "finished")
    tensors, _ = checkpoint.load(checkpoint.find(folder))
    assert torch.isfinite(tensors["learner.params"]).all()
