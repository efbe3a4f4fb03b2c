"""``workers=auto`` and ``threads=auto`` become numbers: measured on this machine, agreed on by all ranks."""

import torch
from omegaconf import DictConfig

from envs.device import make, on_device
from envs.fault import closing
from ppo.buffer.data import leaves
from ppo.config import auto
from ppo.config.check import bind
from ppo.run import ranks
from ppo.run.build import build_network, torch_device


def resolve(cfg: DictConfig) -> DictConfig:
    """``cfg`` with a number for every ``auto``, by trying one environment and the network; that of the first rank.

    Raises ConfigError or EnvError.
    """
    chosen = bind(cfg)
    if "auto" not in (cfg.workers, cfg.threads):
        return cfg
    cfg = cfg.copy()
    cores = auto.usable_cores(ranks.on_this_machine())
    if cfg.workers == "auto" and on_device(chosen["env"]):  # there no process can help
        cfg.workers = 0
        if cfg.threads != "auto":
            return cfg
    with closing(make(chosen["env"], 1, device=torch_device(cfg.device))) as env:
        if cfg.workers == "auto":
            cfg.workers = auto.workers(env, cfg.num_envs // ranks.size(), cores)
        if cfg.threads == "auto":
            network = build_network(chosen["network"], env, torch.Generator(), observe=cfg.observe)
            memory = leaves(network.empty_memory(cfg.minibatch_size // network.chunk))
            size = env.observation_space.shape[0]
            cfg.threads = auto.threads(lambda obs: network(obs, *memory), size, cfg.minibatch_size, cores)
    cfg.workers, cfg.threads = ranks.gather([cfg.workers, cfg.threads])[0]
    return cfg
