"""The numbers of a run of ours as arguments of Stable-Baselines3's PPO and VecNormalize."""

import math
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.check import bind
from ppo.config.errors import one_line
from ppo.config.options import ConfigError, fit
from ppo.config.schema import CONF
from scripts.benchmarks.peers.activations import ACTIVATIONS

_OPTIONS = {  # what SB3 has of each group
    "objective": ("ppo",),
    "clip": ("fixed",),
    "norm": ("minibatch", "none"),
    "lr": ("constant", "linear"),
    "value": ("mse", "clipped"),  # its clipped loss is that of the clipped value, ours the larger of both
    "network": ("mlp",),
    "action": ("clip",),
    **dict.fromkeys(("stop", "penalty", "project", "outer", "reference", "demo"), ("none",)),
}
_NUMBERS = {  # what it cannot be told: as it has them
    "objective.dual": None,
    "network.std_type": "log",
    "network.policy_gain": 0.01,
    "network.squash": False,
    "network.log_std_min": -10.0,
    "normalise.warmup": False,
    "recompute_advantage": False,
    "match_kl": None,
    "rpo": 0.0,
    "init": None,
    "observe.actor": None,
    "observe.critic": None,
}


class Same(NamedTuple):
    num_envs: int
    ppo: dict[str, Any]
    normalise: dict[str, Any] | None  # None: nothing is normalised


def same(words: list[str]) -> Same:
    """What SB3 is to be given so that it trains as ``python -m ppo.train WORDS`` does.

    Raises ConfigError for a word that is none, and where SB3 has no such switch.
    """
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = fit(compose("config", words), words)
        bind(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error
    given = {group: cfg[group]["_target_"].rpartition(".")[2] for group in _OPTIONS}
    given |= {key: OmegaConf.select(cfg, key) for key in _NUMBERS}
    given["normalise.warmup"] &= cfg.normalise.obs or cfg.normalise.reward  # there is nothing else to warm up
    given["network.activation"] = cfg.network.activation if given["network"] == "mlp" else None
    known = _OPTIONS | {key: (number,) for key, number in _NUMBERS.items()} | {"network.activation": tuple(ACTIVATIONS)}
    for key, has in known.items():
        if given[key] not in has:
            raise ConfigError(f"{key}={given[key]}: of this SB3 is given {' or '.join(map(str, has))} alone")
    return Same(cfg.num_envs, _ppo(cfg), _normalise(cfg))


def _ppo(cfg: DictConfig) -> dict[str, Any]:
    net, rate = cfg.network, cfg.lr
    end = rate.get("end", rate.value)
    return {
        "n_steps": cfg.num_steps,
        "batch_size": cfg.minibatch_size,
        "n_epochs": cfg.epochs,
        "learning_rate": lambda left: end + (rate.value - end) * left,
        "gamma": cfg.gamma,
        "gae_lambda": cfg.gae_lambda,
        "clip_range": cfg.clip.eps,
        "clip_range_vf": cfg.value.get("eps"),
        "normalize_advantage": cfg.norm._target_.endswith("minibatch"),
        "ent_coef": cfg.coef.entropy,
        "vf_coef": cfg.coef.value,
        "max_grad_norm": math.inf if cfg.max_grad_norm is None else cfg.max_grad_norm,
        "policy_kwargs": {
            "net_arch": {"pi": list(net.actor), "vf": list(net.critic)},
            "activation_fn": ACTIVATIONS[net.activation],
            "ortho_init": net.orthogonal,
            "log_std_init": net.log_std,
            "optimizer_kwargs": {"eps": cfg.adam.eps, "betas": (cfg.adam.beta1, cfg.adam.beta2), "fused": True},
        },
    }


def _normalise(cfg: DictConfig) -> dict[str, Any] | None:
    by = cfg.normalise
    if not (by.obs or by.reward):
        return None
    clips = {"clip_obs": by.clip_obs, "clip_reward": by.clip_reward}
    return {"norm_obs": by.obs, "norm_reward": by.reward, "gamma": cfg.gamma, **clips}
