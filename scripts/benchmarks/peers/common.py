"""What the adapters share: worlds and the clock. Imports neither ``ppo`` nor ``envs``, nor PyTorch, which not all need."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import gymnasium

from scripts.benchmarks.workloads import Workload

Train = Callable[[Workload, int, Callable[[], None]], None]


def main(train: Train) -> None:
    """Run ``train(workload, iterations, lap)``, which calls ``lap()`` at the end of each iteration.

    Prints one JSON line: the seconds of each iteration. The first contains the set-up and is not to be counted.
    """
    workload, iterations, threads = Workload(**json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    laps = [time.perf_counter()]
    train(workload, iterations, lambda: laps.append(time.perf_counter()))
    print("\n" + json.dumps({"seconds": [b - a for a, b in zip(laps, laps[1:])]}), flush=True)


def make(env: str) -> gymnasium.Env:
    """One environment, as ``gymnasium.make`` gives it to anybody."""
    if "Bullet" in env:
        import pybullet_envs_gymnasium  # noqa: F401  registers its tasks
    return gymnasium.make(env)


def makers(workload: Workload) -> list[Callable[[], gymnasium.Env]]:
    """One function an environment, for a vector of them."""
    return [partial(make, workload.env)] * workload.num_envs


def vector(workload: Workload) -> gymnasium.vector.VectorEnv:
    """gymnasium's own vector in this process, rewards scaled by the deviation of the discounted return."""
    return gymnasium.wrappers.vector.NormalizeReward(gymnasium.vector.SyncVectorEnv(makers(workload)), gamma=0.99)


def then(function: Callable, lap: Callable[[], None]) -> Callable:
    """``function``, with ``lap()`` after every call."""

    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        lap()
        return result

    return call
