"""Whole episodes of a policy: what evaluation counts, film shows and a person watches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from envs.base import EnvError, VectorEnv
from ppo.config.options import ConfigError
from ppo.config.schema import SEEDS
from ppo.network.acting import one_thread
from ppo.run.policy import Act, forget

SEED = 1_000_000  # of evaluations, far from the seeds of training; conf/config.yaml has it as well
MAX_STEPS = 100_000  # an episode that is longer has no end; conf/config.yaml has it as well
FPS = 30.0  # of an environment that names no other


def check_seed(seed: int, what: str = "seed=") -> None:
    """Raise ConfigError where no episode begins with ``seed``; ``what`` gave it."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"{what}{seed}: must be at least 0" + (" and below 2^63" if seed > 0 else ""))


@torch.no_grad()
@one_thread()
def play(
    envs: VectorEnv,
    act: Act,
    seed: int,
    episodes: int | None = None,
    before_step: Callable[[], None] = lambda: None,
    *,
    max_steps: int = MAX_STEPS,
    begin: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """(returns, lengths) of ``episodes``, by default one in every sub-environment; episode i begins as seed i does.

    In rounds of one episode for each, and all of them count: taking the first ones to end would favour short ones.
    ``before_step`` is called in every state that is acted on. ``begin``: the first episode's number. Raises EnvError where
    an episode has no end after ``max_steps`` steps.
    """
    episodes = envs.num_envs if episodes is None else episodes
    returns, lengths = np.full(episodes, np.nan), np.zeros(episodes, dtype=np.int64)
    for first in range(0, episodes, envs.num_envs):
        count = min(envs.num_envs, episodes - first)
        into = returns[first:][:count], lengths[first:][:count]
        _round(envs, act, seed, begin + first, into, before_step, max_steps)
    return returns, lengths


def _round(
    envs: VectorEnv, act: Act, seed: int, first: int, into: tuple, before_step: Callable, max_steps: int
) -> None:
    """Fill the views (returns, lengths) ``into`` with an episode of each of the first sub-environments."""
    returns, lengths = into
    memory: Any = ()
    obs = torch.tensor(envs.reset(seed, first=first) if first else envs.reset(seed))
    for _ in range(max_steps):
        before_step()
        action, memory = act(obs, memory)
        step = envs.step(action)
        over = step.terminated | step.truncated
        forget(memory, over)
        ended = over[: len(lengths)] & (lengths == 0)
        returns[ended] = step.episode_return[: len(lengths)][ended]
        lengths[ended] = step.episode_length[: len(lengths)][ended]
        if (lengths > 0).all():
            return
        obs = torch.tensor(step.obs)
    raise EnvError(
        f"{envs.name}: an episode has no end after {max_steps:,} steps;"
        " the task needs a time limit (env=gym: env.kwargs.max_episode_steps=1000)"
    )
