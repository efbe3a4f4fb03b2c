"""Numbers of a run that are better measured on the machine than guessed: ``workers=auto`` and ``threads=auto``."""

import os
import time
from collections.abc import Callable

import numpy as np
import torch

from envs.action import random_actions
from envs.base import VectorEnv

_WORTH = 2e-4  # s: a vector step shorter than this is hardly shortened by asking other processes for a part of it
_GAIN = 1.2  # how much faster all cores must be, since they are then not there for anything else
_STEPS, _BUDGET = 50, 1.0  # an environment is timed over so many steps, or for so many seconds


def workers(env: VectorEnv, num_envs: int, cores: int) -> int:
    """One for each core beside this process's where a vector step of ``num_envs`` like ``env`` is long, else 0.

    ``env``: one sub-environment; it is reset and stepped, by actions from its space. The number of workers does not
    change what is computed. Raises EnvError.
    """
    most = min(cores, num_envs) - 1
    if most == 0:
        return 0
    env.reset(0)
    actions = iter(random_actions(env.action_space, (_STEPS + 1, 1), np.random.default_rng(0)))
    each = _seconds(lambda: env.step(next(actions)), _STEPS)
    return most if each * num_envs >= _WORTH else 0


def threads(network: Callable[[torch.Tensor], tuple], obs_size: int, minibatch_size: int, cores: int) -> int:
    """All cores where forward and backward of a minibatch are ``_GAIN`` times faster so, else 1.

    ``network``: what it gives of observations is a policy, a tuple of tensors, and values.
    The number of threads changes the rounding, so that ``auto`` is not its default.
    """
    if cores == 1:
        return 1
    obs = torch.zeros(minibatch_size, obs_size)

    def turn() -> None:
        policy, value = network(obs)
        (sum(x.sum() for x in policy) + value.sum()).backward()

    before, best = torch.get_num_threads(), {1: float("inf"), cores: float("inf")}
    try:
        for _ in range(3):
            for count in best:
                torch.set_num_threads(count)
                best[count] = min(best[count], _seconds(turn, 10))
    finally:
        torch.set_num_threads(before)
    return cores if _GAIN * best[cores] <= best[1] else 1


def usable_cores(processes: int = 1) -> int:
    """Those that this process may use, where ``processes`` on this machine share them alike."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // processes)


def _seconds(call: Callable[[], object], times: int) -> float:
    """Of one call; the median of at most ``times``, after a first that is not counted. Ends early within ``_BUDGET``."""
    call()
    taken: list[float] = []
    while len(taken) < times and sum(taken) < _BUDGET:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
