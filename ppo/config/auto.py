"""Numbers of a run that are better measured on the machine than guessed: ``workers=auto`` and ``threads=auto``."""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from omegaconf import DictConfig

from envs.base import VectorEnv
from ppo.config.check import check
from ppo.config.options import strategy
from ppo.run import ranks
from ppo.run.build import build_network

_WORTH = 2.5e-4  # s: a vector step shorter than this is hardly shortened by asking other processes for a part of it
_GAIN = 1.2  # how much faster all cores must be, since they are then not there for anything else


def resolve(cfg: DictConfig) -> DictConfig:
    """``cfg`` with a number for every ``auto`` of workers and threads, by trying one environment and the network.

    The number of workers does not change what is computed. That of threads changes the rounding, so that ``auto`` is
    not its default. Raises ConfigError or EnvError.
    """
    check(cfg)
    if "auto" not in (cfg.workers, cfg.threads):
        return cfg
    cfg = cfg.copy()
    env = strategy("env", cfg.env, cfg.trust)(1, 0)
    try:
        if cfg.workers == "auto":
            cfg.workers = workers(env, cfg.num_envs // ranks.size())
        if cfg.threads == "auto":
            cfg.threads = threads(cfg, env)
    finally:
        env.close()
    cfg.workers, cfg.threads = ranks.gather([cfg.workers, cfg.threads])[0]
    return cfg


def workers(env: VectorEnv, num_envs: int) -> int:
    """One for each core beside this process's where a vector step of ``num_envs`` like ``env`` is long, else 0."""
    most = min(cores(), num_envs) - 1
    if most == 0:
        return 0
    env.reset(0)
    action = np.zeros((1, *(env.action_space.shape or ())), env.action_space.dtype)
    each = _seconds(lambda: env.step(action), 50)
    return most if each * num_envs >= _WORTH else 0


def threads(cfg: DictConfig, env: VectorEnv) -> int:
    """All cores where forward and backward of a minibatch are ``_GAIN`` times faster so, else 1."""
    if cores() == 1:
        return 1
    network = build_network(strategy("network", cfg.network, cfg.trust), env, torch.Generator())
    obs = torch.zeros(cfg.minibatch_size, *env.observation_space.shape)

    def turn() -> None:
        policy, value = network(obs)
        (sum(x.sum() for x in policy) + value.sum()).backward()

    before, best = torch.get_num_threads(), {1: float("inf"), cores(): float("inf")}
    try:
        for _ in range(3):
            for count in best:
                torch.set_num_threads(count)
                best[count] = min(best[count], _seconds(turn, 10))
    finally:
        torch.set_num_threads(before)
    return cores() if _GAIN * best[cores()] <= best[1] else 1


def cores() -> int:
    """Those this process may use, the other ranks' share left out."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // ranks.on_this_machine())


def _seconds(call: Callable[[], object], times: int) -> float:
    """Of one call; the median, after a first that is not counted."""
    call()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
