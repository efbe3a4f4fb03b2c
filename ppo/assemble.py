"""From a configuration to the parts of a run: every choice bound to its function, nothing stepped, nothing written."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from envs.base import VectorEnv
from ppo.buffer.rollout import build_refresh
from ppo.config import ConfigError, check, plain, strategy
from ppo.loss import objective
from ppo.loss.adapt import Seen
from ppo.network.actor_critic import ActorCritic, widen
from ppo.network.flat import flatten
from ppo.network.normaliser import Moments, ObsNormaliser, RewardScale
from ppo.update.compile import compile_step
from ppo.update.gradient_step import Guards, Knobs, Terms, build_loss, build_step
from ppo.update.loop import keep
from ppo.update.measure import build_measure
from ppo.update.natural import build_natural_step, stay
from ppo.update.optim import Learner, adam
from ppo.update.report import reached_kl
from ppo.update.stop import Limits


class Parts(NamedTuple):
    """What a run is made of. Only the environments and the generator hold state of their own."""

    envs: VectorEnv
    to_world: Callable  # the sampled action -> what the environment may receive
    network: ActorCritic
    flat: Tensor  # [P]: its parameters are views of this buffer
    generator: torch.Generator
    step: Callable
    finish: Callable  # how an update ends: see ppo.update.natural
    measure: Callable
    limits: Limits
    norm: Callable
    refresh: Callable  # from what ``prepare`` takes to a function that values the rollout again
    lr: Callable  # these three choose a number for each update, by what the last one measured
    clip: Callable
    penalty: Callable


class State(NamedTuple):
    """What changes while training, and with the parts' generator all that a checkpoint must hold."""

    learner: Learner
    obs_moments: Moments
    reward_scale: RewardScale
    env_steps: int = 0
    updates: int = 0
    lr: float | None = None  # of the last update, as clip range and beta are
    clip_low: float | None = None
    clip_high: float | None = None
    beta: float | None = None  # weight of the KL penalty
    kl: float | None = None  # what the last update measured: see Seen
    clip_fraction: float | None = None
    advantage_scale: float | None = None  # what norm= kept
    best: float | None = None  # the best evaluation so far


def assemble(cfg: DictConfig) -> Parts:
    """Build the parts. Raises ConfigError (or EnvError) before anything is left behind."""
    check(cfg)
    groups = ("env", "action", "network", "kl", "stop", "objective", "clip", "penalty", "norm", "lr", "value", "logger")
    chosen = {group: strategy(group, cfg[group], cfg.trust) for group in groups}
    device = torch_device(cfg.device)
    envs = chosen["env"](cfg.num_envs, cfg.workers)
    try:
        generator = torch.Generator().manual_seed(cfg.seed)
        network = build_network(cfg, envs, generator).to(device)
        flat = flatten(network)
        terms = Terms(
            chosen["objective"],
            chosen["kl"],
            chosen["value"],
            use_noise=cfg.rpo > 0,
            use_value=cfg.coef.value > 0,
            use_entropy=cfg.coef.entropy > 0,
            use_kl=chosen["penalty"](0.0, None, None, cfg.target_kl) > 0,
        )
        guards, finish = Guards(**{key: cfg.guard[key] for key in Guards._fields}), stay
        if chosen["objective"].func is objective.trpo:
            surrogate = build_loss(network, terms._replace(use_value=False), guards)
            finish = build_natural_step(network, surrogate, cfg.target_kl, **chosen["objective"].keywords)
            terms = terms._replace(use_policy=False, use_entropy=False, use_kl=False)
        step = build_step(network, terms, guards, micro_batches=cfg.micro_batches, optimiser=partial(adam, **cfg.adam))
        return Parts(
            envs=envs,
            to_world=partial(chosen["action"], space=envs.action_space),
            network=network,
            flat=flat,
            generator=generator,
            step=compile_step(step, cfg.compile.lower(), planned_steps(cfg), _choices(cfg, terms)),
            finish=finish,
            measure=build_measure(network, chosen["kl"], clamp=cfg.guard.clamp),
            limits=chosen["stop"](cfg.target_kl),
            norm=chosen["norm"],
            refresh=partial(build_refresh, gamma=cfg.gamma, lam=cfg.gae_lambda)
            if cfg.recompute_advantage
            else lambda *ground: keep,
            lr=chosen["lr"],
            clip=chosen["clip"],
            penalty=chosen["penalty"],
        )
    except BaseException:
        envs.close()
        raise


# Keys that do not change the code of a gradient step: its numbers come in knobs, and its shapes are looked at.
_NOT_OF_THE_STEP = ("seed", "total_steps", "num_envs", "num_steps", "workers", "epochs", "gamma", "gae_lambda")
_NOT_OF_THE_STEP += ("target_kl", "max_grad_norm", "coef", "lr", "clip", "penalty", "stop", "norm", "normalise", "eval")
_NOT_OF_THE_STEP += (
    "rpo",
    "recompute_advantage",
    "checkpoint",
    "logger",
    "env",
    "action",
    "compile",
    "threads",
    "device",
    "trust",
)
_NOT_OF_THE_STEP += ("doctor", "plots")


def _choices(cfg: DictConfig, terms: Terms) -> str:
    """What made the step: every other key, and which terms of the loss are used."""
    kept = {key: value for key, value in plain(cfg).items() if key not in _NOT_OF_THE_STEP}
    return json.dumps([kept, terms.use_noise, terms.use_value, terms.use_entropy, terms.use_kl], sort_keys=True)


def planned_steps(cfg: DictConfig) -> int:
    """Gradient steps of the whole run if no update stops early."""
    batch = cfg.num_envs * cfg.num_steps
    return math.ceil(cfg.total_steps / batch) * cfg.epochs * (batch // cfg.minibatch_size)


def build_network(cfg: DictConfig, envs: VectorEnv, generator: torch.Generator) -> ActorCritic:
    """The network that fits these environments."""
    try:
        build = strategy("network", cfg.network, cfg.trust)
        network = build(envs.observation_space.shape[0], envs.action_space.shape[0], generator)
        widen(network, cfg.value.get("quantiles", 1))  # the critic is as wide as its loss asks
    except ConfigError:
        raise
    except (ValueError, RuntimeError, MemoryError, OverflowError) as error:  # no memory for a network so large
        raise ConfigError(f"network: {' '.join(str(error).split())}") from error
    return network


def torch_device(name: str) -> torch.device:
    """The device of that name, or ConfigError where this machine has none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # read back: "meta" holds no numbers
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: not available here ({str(error).splitlines()[0]})") from error
    return device


def start(cfg: DictConfig, parts: Parts) -> State:
    """The state before the first step."""
    device = parts.flat.device
    return State(
        Learner.start(parts.flat.clone()),
        Moments.empty(*parts.envs.observation_space.shape, device=device),
        RewardScale.empty(cfg.num_envs, device=device),
    )


def obs_normaliser(cfg: DictConfig, moments: Moments) -> ObsNormaliser:
    """What the networks see of an observation, with these statistics."""
    if not cfg.normalise.obs:
        return ObsNormaliser.identity(moments.mean.device)
    return ObsNormaliser.of(moments, clip=cfg.normalise.clip_obs)


def reward_scaler(cfg: DictConfig, scale: RewardScale) -> Callable[[Tensor], Tensor]:
    """What the critic learns of a reward, with these statistics."""
    if not cfg.normalise.reward:
        return torch.Tensor.float
    return partial(scale.apply, clip=cfg.normalise.clip_reward)


def choose(cfg: DictConfig, parts: Parts, state: State) -> State:
    """The state with the learning rate, clip range and penalty of the next update."""
    progress = state.env_steps / cfg.total_steps
    clip = None if state.clip_low is None or state.clip_high is None else (state.clip_low, state.clip_high)
    seen = None if state.kl is None or state.clip_fraction is None else Seen(state.kl, state.clip_fraction)
    low, high = parts.clip(progress, clip, seen, cfg.target_kl)
    return state._replace(
        lr=parts.lr(progress, state.lr, seen, cfg.target_kl),
        clip_low=low,
        clip_high=high,
        beta=parts.penalty(progress, state.beta, seen, cfg.target_kl),
    )


def note(state: State, metrics: Mapping[str, float | int | str]) -> State:
    """The state with what the options of the next update will read of this one."""
    scale = metrics.get("advantage/scale")
    return state._replace(
        kl=reached_kl(metrics),
        clip_fraction=float(metrics.get("clip/fraction", 0.0)),
        advantage_scale=None if scale is None else float(scale),
    )


def knobs(cfg: DictConfig, parts: Parts, state: State) -> Knobs:
    """The numbers of the next update, as tensors; those of ``state`` have been chosen."""
    max_norm = float("inf") if cfg.max_grad_norm is None else cfg.max_grad_norm
    chosen = (state.lr, state.clip_low, state.clip_high)
    numbers = (
        *chosen,
        parts.limits.minibatch,
        parts.limits.ratio,
        max_norm,
        cfg.coef.value,
        cfg.coef.entropy,
        state.beta,
    )
    return Knobs(*torch.tensor(numbers, dtype=torch.float32, device=parts.flat.device))
