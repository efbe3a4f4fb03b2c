"""The policy of a checkpoint, beside environments of its own: what evaluation plays and export writes."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from envs.action import received
from envs.base import VectorEnv
from envs.device import hosted, make, on_device
from envs.fault import closing
from ppo.config.foreign import foreign
from ppo.config.options import ConfigError, strategy
from ppo.network.acting import actor
from ppo.network.actor_critic import ActorCritic
from ppo.network.normaliser import ObsNormaliser
from ppo.run import checkpoint
from ppo.run.build import saved_policy, torch_device

Act = Callable[[Tensor, Any], tuple[np.ndarray, Any]]  # see ``deterministic``
_BLOCK = 64  # steps whose noise is drawn at once
# At most so many worlds, which play as many rounds as it takes. Divisible by 2, 3, 4 and 6: where sub-environments are of
# several kinds in turn (env.variants), every episode is played by the kind that would play it in a world of its own.
_WORLDS = 12


def worlds(env: Callable, episodes: int) -> int:
    """How many sub-environments of an ``env=`` option play so many episodes. On a device, where a step of many takes as
    long as one of few, all at once."""
    return episodes if on_device(env) else min(episodes, _WORLDS)


def whole(env: partial) -> partial:
    """An ``env=`` option as it plays whole episodes: without the first ones that begin at a random place of their time
    limit, which are for training."""
    return partial(env, random_start=False) if "random_start" in env.keywords else env


class Policy(NamedTuple):
    """What acts, and what it acts in. Everything is as it was when the checkpoint was written."""

    envs: VectorEnv
    network: ActorCritic
    normalise: ObsNormaliser
    to_world: Callable  # the sampled action -> what the environment may receive
    meta: dict[str, Any]  # of the checkpoint: "config", "progress"

    def __call__(self, obs: Tensor, memory: Any = ()) -> tuple[np.ndarray, Any]:
        """The most likely action at ``obs [N, O]``, as the environment receives it, and the memory."""
        return deterministic(self.network, self.normalise, self.to_world)(obs, memory)

    def sampled(self, seed: int) -> Act:
        """The same with sampled actions, as in training."""
        return sampled(self.network, self.normalise, self.to_world, self.envs.num_envs, seed)


def deterministic(network: ActorCritic, normalise: ObsNormaliser, to_world: Callable) -> Act:
    """``act(obs [N, O], memory) -> (action, memory)``: the policy's most likely action, as the environment receives it.

    The memory is a row [M] for each observation, 0 where its episode begins; or (), where all do or none has any.
    """

    device = network.device

    def act(obs: Tensor, memory: Any) -> tuple[np.ndarray, Any]:
        seen = normalise(obs.to(device))
        if not network.memory_size:
            return to_world(network.policy(seen).mode().cpu().numpy()), memory
        before = cast(Tensor, memory if len(memory) else network.empty_memory(len(obs), device))
        return to_world(network.policy(seen, before).mode().cpu().numpy()), network.remember(seen, before)

    return act


def forget(memory: Any, ended: np.ndarray) -> None:
    """Set to 0 what is remembered in the rows whose episode ``ended [N]``, where anything is."""
    if len(memory):
        memory[ended] = 0.0


def sampled(network: ActorCritic, normalise: ObsNormaliser, to_world: Callable, rows: int, seed: int) -> Act:
    """``act(obs [N, O], memory)``, N = ``rows``: a sampled action as in training, by the random numbers of ``seed``."""
    act, generator = actor(network, normalise, rows), torch.Generator().manual_seed(seed)
    again = getattr(network, "resample", 1)  # steps after which gSDE explores anew; with a block it does so, too
    block = again * math.ceil(_BLOCK / again)
    noise = chain.from_iterable(network.noise(block, rows, generator) for _ in repeat(None))

    def acting(obs: Tensor, memory: Any) -> tuple[np.ndarray, Any]:
        if network.memory_size and len(memory) == 0:
            memory = np.zeros((rows, network.memory_size), np.float32)
        action, _, memory = act(obs.numpy(), next(noise), np.asarray(memory))
        return to_world(action), memory

    return acting


@contextmanager
def restored(
    path: Path, episodes: int, trust: Sequence[str] = (), *, device: str = "cpu", **options: Any
) -> Generator[Policy, None, None]:
    """The policy of the checkpoint at ``path``, with environments for so many ``episodes``, which are closed at the end.

    ``trust``: packages that it may name beside ours; see ``foreign``. ``options``: of the environment, beside those it
    was trained with. Raises CheckpointError, ConfigError, EnvError.
    """
    tensors, meta = checkpoint.load(path)
    cfg = foreign(meta.get("config"), trust, path)
    if isinstance(cfg.threads, int):  # as in training: another number of threads rounds otherwise
        torch.set_num_threads(cfg.threads)
    where = torch_device(device)
    action = strategy("action", cfg.action, trust)
    try:
        merged = cast(DictConfig, OmegaConf.merge(cfg.env or {}, options))
    except OmegaConfBaseException as error:
        raise ConfigError(f"env.{', env.'.join(options)}: {str(error).splitlines()[0]}") from error
    env = whole(strategy("env", merged, trust))
    with closing(hosted(make(env, worlds(env, episodes), device=where))) as envs:
        network, normalise = saved_policy(cfg, tensors, envs, where)
        yield Policy(envs, network, normalise, received(action, envs.action_space), meta)
