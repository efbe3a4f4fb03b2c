"""Microseconds of an environment step, and of a vector step.

- *bullet*: one environment on one core: ours, the reference's (``pybullet-envs-gymnasium``), and ``stepSimulation``
  alone, as it runs inside our step. In CPU time of this thread, which other programs of the machine disturb little.
- *mujoco*: a vector step of MuJoCo robots on one core: ours, gymnasium's robots in our vector (``env=gym``) and in
  gymnasium's, and ``mj_step`` alone, as it runs inside of a robot. In CPU time as well; resets are counted.
- *vector*: ours in this process and with workers, gymnasium's and Stable-Baselines3's vector environments, all over the
  same environment. In wall-clock time, since processes wait for each other. ``ratio`` is against the fastest peer.

Random actions; programs take turns, a short chunk of steps each.
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from envs.base import VectorEnv
from ppo.config.options import option
from scripts.benchmarks.table import Row, Samples, fastest, rows, table, versions
from scripts.parity import TASKS, our, reference

ROBOTS = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5")
VECTORS = ("envs/HalfCheetahBullet-v0", "envs/AntBullet-v0", "Pendulum-v1")
SIZES = (8, 16)
_QUICK = 15.0  # seconds for each part of a quick run


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", default=",".join(TASKS), help="Bullet tasks, separated by commas")
    parser.add_argument("--robots", default=",".join(ROBOTS), help="MuJoCo tasks, separated by commas")
    parser.add_argument("--vectors", default=",".join(VECTORS), help="gymnasium ids, separated by commas")
    parser.add_argument(
        "--workers",
        type=int,
        default=(os.cpu_count() or 2) - 1,
        help="workers beside the process itself (default: the other cores)",
    )


def main(args: argparse.Namespace) -> Iterator[list[Row]]:
    """The rows of every table, as soon as it is measured."""
    found = versions("pybullet", "pybullet-envs-gymnasium", "gymnasium", "stable-baselines3", "numpy")
    print(", ".join(f"{name} {version or 'not installed'}" for name, version in found.items()))
    tasks, robots, vectors = (list(filter(None, x.split(","))) for x in (args.tasks, args.robots, args.vectors))
    repeats = args.repeats or (5 if args.quick else 21)
    for task in tasks:
        limit = _QUICK / len(tasks) if args.quick else None
        measured = single(task, repeats, limit)
        made = rows("envs", task, "µs/step", measured, "reference", more_is_better=False)
        yield _show(
            made + rows("envs", task, "x", {"ours / stepSimulation": _over(measured)}, None, more_is_better=False)
        )
    for id in robots:
        limit = _QUICK / len(robots) if args.quick else None
        measured = mujoco(id, SIZES[0], repeats, limit)
        name = f"{id} x {SIZES[0]}"
        yield _show(rows("envs", name, "µs/vector step", measured, "gymnasium Sync", more_is_better=False))
    for id in vectors:
        for size in SIZES:
            limit = _QUICK / len(vectors) / len(SIZES) if args.quick else None
            measured = vector(id, size, args.workers, repeats, limit)
            peers = [name for name in measured if not name.startswith("ours")]
            peer = fastest(measured, peers, more_is_better=False)
            yield _show(rows("envs", f"{id} x {size}", "µs/vector step", measured, peer, more_is_better=False))


def _over(measured: Samples) -> list[float | None]:
    return [a / b for a, b in zip(measured["ours"], measured["stepSimulation"]) if a and b]


def _show(made: list[Row]) -> list[Row]:
    print(table(made), flush=True)
    return made


def single(task: str, repeats: int, limit: float | None) -> Samples:
    """CPU µs of a step: ours, the reference's, physics alone; resets, which are rarer, are not counted."""
    clock = time.thread_time
    inside: list[float] = []
    plain, watched, theirs = our(task), our(task), reference(task)
    physics = watched.world.step

    def timed() -> None:
        begun = clock()
        physics()
        inside.append(clock() - begun)

    watched.world.step = timed
    rng = np.random.default_rng(0)
    samples: Samples = {"ours": [], "reference": [], "stepSimulation": []}
    end = time.monotonic() + limit if limit else float("inf")
    for repeat in range(repeats):
        actions = rng.uniform(-1, 1, (100, *plain.action_space.shape)).astype(np.float32)
        for env in (plain, watched, theirs):
            env.reset(seed=repeat)
        ours = _steps(plain, actions, clock)
        samples["reference"].append(_steps(theirs, actions, clock))
        inside.clear()
        _steps(watched, actions, clock)
        physics_alone = 1e6 * sum(inside) / len(inside)
        samples["ours"].append(ours)
        samples["stepSimulation"].append(physics_alone)
        if time.monotonic() > end:
            break
    for env in (plain, watched, theirs):
        env.close()
    return samples


def _steps(env: gymnasium.Env, actions: np.ndarray, clock: Callable[[], float]) -> float:
    spent = 0.0
    for action in actions:
        begun = clock()
        ended = env.step(action)[2]
        spent += clock() - begun
        if ended:
            env.reset()
    return 1e6 * spent / len(actions)


def mujoco(id: str, size: int, repeats: int, limit: float | None) -> Samples:
    """CPU µs of a vector step in this process, and of the physics within."""
    library: Any = importlib.import_module("mujoco")
    clock, physics = time.thread_time, library.mj_step
    inside: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> None:
        begun = clock()
        physics(*args, **kwargs)
        inside.append(clock() - begun)

    candidates = {
        "ours": _ours(id, size, 0, "mujoco"),
        "ours, env=gym": _ours(id, size, 0),
        "gymnasium Sync": _gymnasium(id, size, "sync"),
        "mj_step": _ours(id, size, 0),
    }
    samples: Samples = {name: [] for name in candidates}
    rng, space = np.random.default_rng(0), gymnasium.spec(id).make(disable_env_checker=True).action_space
    end = time.monotonic() + limit if limit else float("inf")
    for _ in range(repeats):
        actions = rng.uniform(-1, 1, (40, size, *(space.shape or ()))).astype(np.float32)
        for name, candidate in candidates.items():
            inside.clear()
            library.mj_step = timed if name == "mj_step" else physics
            begun = clock()
            for action in actions:
                candidate.step(action)
            spent = sum(inside) if name == "mj_step" else clock() - begun
            samples[name].append(1e6 * spent / len(actions))
        if time.monotonic() > end:
            break
    library.mj_step = physics
    for candidate in candidates.values():
        candidate.close()
    return samples


class Candidate(NamedTuple):
    """A vector environment of whatever make."""

    step: Callable[[np.ndarray], Any]
    close: Callable[[], None]


def vector(id: str, size: int, workers: int, repeats: int, limit: float | None) -> Samples:
    """Wall-clock µs of a vector step."""
    makers: dict[str, Callable[[], Candidate]] = {
        f"ours, {w} workers": partial(_ours, id, size, w) for w in sorted({0, 1, workers})
    }
    makers |= {"gymnasium Sync": partial(_gymnasium, id, size, "sync")}
    makers |= {"gymnasium Async": partial(_gymnasium, id, size, "async")}
    if versions("stable-baselines3")["stable-baselines3"]:
        makers["SB3 Subproc"] = partial(_subproc, id, size)
    candidates = {name: make() for name, make in makers.items()}
    samples: Samples = {name: [] for name in candidates}
    rng = np.random.default_rng(0)
    space = gymnasium.make(id).action_space
    end = time.monotonic() + limit if limit else float("inf")
    try:
        for _ in range(repeats):
            actions = rng.uniform(-1, 1, (40, size, *(space.shape or ()))).astype(np.float32)
            for name, candidate in candidates.items():
                begun = time.perf_counter()
                for action in actions:
                    candidate.step(action)
                samples[name].append(1e6 * (time.perf_counter() - begun) / len(actions))
            if time.monotonic() > end:
                break
    finally:
        for candidate in candidates.values():
            candidate.close()
    return samples


def _ours(id: str, size: int, workers: int, word: str = "gym") -> Candidate:
    env: VectorEnv = option("env", word, id=id)(size, workers)
    env.reset(0)
    return Candidate(env.step, env.close)


def _gymnasium(id: str, size: int, mode: str) -> Candidate:
    shared = {"shared_memory": True} if mode == "async" else {}
    same_step = gymnasium.vector.AutoresetMode.SAME_STEP  # what ours does
    env = gymnasium.make_vec(
        id,
        size,
        vectorization_mode=mode,
        vector_kwargs={"autoreset_mode": same_step, **shared},
        disable_env_checker=True,
    )
    env.reset(seed=0)
    return Candidate(env.step, env.close)


def _subproc(id: str, size: int) -> Candidate:
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = SubprocVecEnv([partial(gymnasium.make, id, disable_env_checker=True)] * size, start_method="fork")
    env.seed(0)
    env.reset()
    return Candidate(env.step, env.close)
