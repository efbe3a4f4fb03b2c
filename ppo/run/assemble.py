"""From a configuration to the parts of a run: every choice bound to its function, nothing stepped, nothing written."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from envs.action import tanh
from envs.base import VectorEnv
from ppo.buffer.collect import build_refresh
from ppo.buffer.rewards import RewardScale
from ppo.config.check import check
from ppo.config.options import GROUPS, ConfigError, plain, strategy
from ppo.control.progress import Seen
from ppo.control.stop import Limits
from ppo.loss import objective
from ppo.loss.demo import Demo
from ppo.loss.reference import Reference
from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import flatten
from ppo.network.normaliser import Moments
from ppo.run import ranks
from ppo.run.build import build_network, choose_reference, held_out, restore, torch_device
from ppo.update.compile import compile_step
from ppo.update.loop import keep
from ppo.update.measure import build_measure
from ppo.update.natural import build_natural_step, stay
from ppo.update.optim import Learner, adam
from ppo.update.report import reached_kl
from ppo.update.step import Guards, Knobs, Terms, build_loss, build_step


class Parts(NamedTuple):
    """What a run is made of. Only the environments and the generator hold state of their own."""

    envs: VectorEnv
    own: slice  # the columns of the rollout that they fill
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
    reference: Reference | None
    demo: Demo | None
    draw: Callable | None  # pairs of it for ``prepare``
    held_out: Tensor | None  # [H, O] states on which its KL is measured as well
    moments: Moments  # the observation statistics that the run starts with


class State(NamedTuple):
    """What changes while training: with the parts' generator and environments all that a checkpoint must hold.

    Every leaf is a tensor or something that JSON can hold; a field that is added here is saved and restored.
    """

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
    reference_coef: float | None = None  # weight of the KL to the reference policy
    reference_kl: float | None = None
    demo_coef: float | None = None  # weight of the demonstrations
    demo_ratio: float | None = None  # size of their term over that of the PPO loss
    best: float | None = None  # the best evaluation so far


def assemble(cfg: DictConfig) -> Parts:
    """Build the parts. Raises ConfigError (or EnvError) before anything is left behind."""
    check(cfg)
    chosen = {group: strategy(group, cfg[group], cfg.trust) for group in GROUPS}
    device = torch_device(cfg.device)
    own = ranks.own(cfg.num_envs)
    if ranks.size() == 1:
        envs = chosen["env"](cfg.num_envs, cfg.workers)
    elif cfg.num_envs % ranks.size():
        raise ConfigError(f"num_envs={cfg.num_envs}: must be a multiple of the {ranks.size()} ranks")
    else:
        envs = chosen["env"](range(own.start, own.stop), cfg.workers)
    try:
        generator = torch.Generator().manual_seed(cfg.seed)
        network = build_network(cfg, envs, generator).to(device)
        flat = flatten(network)
        moments = Moments.empty(*envs.observation_space.shape, device=device)
        if cfg.init is not None:
            moments = restore(cfg, flat, moments)
        to_world = partial(chosen["action"], space=envs.action_space)
        reference = choose_reference(cfg, chosen["reference"], network, moments, envs)
        demo = chosen["demo"](envs.observation_space, envs.action_space, chosen["action"].func is tanh)
        pull = None if reference is None else reference.divergence
        terms = Terms(
            chosen["objective"],
            chosen["kl"],
            chosen["value"],
            use_noise=cfg.rpo > 0,
            use_value=cfg.coef.value > 0,
            use_entropy=cfg.coef.entropy > 0,
            use_kl=chosen["penalty"](0.0, None, None, cfg.target_kl) > 0,
            reference=pull,
            use_demo=demo is not None,
        )
        guards, finish = Guards(**{key: cfg.guard[key] for key in Guards._fields}), stay
        if chosen["objective"].func is objective.trpo:
            surrogate = build_loss(network, terms._replace(use_value=False), guards)
            finish = build_natural_step(network, surrogate, cfg.target_kl, **chosen["objective"].keywords)
            terms = terms._replace(use_policy=False, use_entropy=False, use_kl=False, reference=None)
        step = build_step(network, terms, guards, micro_batches=cfg.micro_batches, optimiser=partial(adam, **cfg.adam))
        return Parts(
            envs=envs,
            own=own,
            to_world=to_world,
            network=network,
            flat=flat,
            generator=generator,
            step=compile_step(step, cfg.compile.lower(), planned_steps(cfg), _choices(cfg, terms)),
            finish=finish,
            measure=build_measure(network, chosen["kl"], clamp=cfg.guard.clamp, reference=pull),
            limits=chosen["stop"](cfg.target_kl),
            norm=chosen["norm"],
            refresh=partial(build_refresh, gamma=cfg.gamma, lam=cfg.gae_lambda)
            if cfg.recompute_advantage
            else lambda *ground: keep,
            lr=chosen["lr"],
            clip=chosen["clip"],
            penalty=chosen["penalty"],
            reference=reference,
            demo=demo,
            draw=None if demo is None else partial(demo.draw, generator),
            held_out=held_out(cfg, reference, to_world, chosen["env"]),
            moments=moments,
        )
    except BaseException:
        envs.close()
        raise


# Keys that do not change the code of a gradient step: its numbers come in knobs, and its shapes are looked at.
_NOT_OF_THE_STEP = ("seed", "total_steps", "num_envs", "num_steps", "workers", "epochs", "gamma", "gae_lambda")
_NOT_OF_THE_STEP += ("target_kl", "max_grad_norm", "coef", "lr", "clip", "penalty", "stop", "norm", "normalise", "eval")
_NOT_OF_THE_STEP += (
    "rpo",
    "init",
    "reference",
    "demo",
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
_NOT_OF_THE_STEP += ("doctor", "plots", "resume", "exact_resume", "on_nonfinite", "rank_timeout")


def _choices(cfg: DictConfig, terms: Terms) -> str:
    """What made the step: every other key, and which terms of the loss are used."""
    kept = {key: value for key, value in plain(cfg).items() if key not in _NOT_OF_THE_STEP}
    used = [terms.use_noise, terms.use_value, terms.use_entropy, terms.use_kl, terms.use_demo]
    return json.dumps([kept, used, cfg.reference.get("direction")], sort_keys=True)


def planned_steps(cfg: DictConfig) -> int:
    """Gradient steps of the whole run if no update stops early."""
    batch = cfg.num_envs * cfg.num_steps
    return math.ceil(cfg.total_steps / batch) * cfg.epochs * (batch // cfg.minibatch_size)


def start(cfg: DictConfig, parts: Parts) -> State:
    """The state before the first step."""
    device = parts.flat.device
    return State(
        Learner.start(parts.flat.clone()),
        parts.moments,
        RewardScale.empty(cfg.num_envs, device=device),
    )


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
        reference_coef=parts.reference.coef(progress, state.reference_coef, state.reference_kl)
        if parts.reference
        else 0.0,
        demo_coef=parts.demo.next_coef(state.demo_coef, state.demo_ratio) if parts.demo else 0.0,
    )


def note(state: State, metrics: Mapping[str, float | int | str]) -> State:
    """The state with what the options of the next update will read of this one."""
    scale, pulled, cloned = (metrics.get(x) for x in ("advantage/scale", "reference/kl", "bc/ppo_ratio"))
    return state._replace(
        kl=reached_kl(metrics),
        clip_fraction=float(metrics.get("clip/fraction", 0.0)),
        advantage_scale=None if scale is None else float(scale),
        reference_kl=None if pulled is None else float(pulled),
        demo_ratio=None if cloned is None else float(cloned),
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
        state.reference_coef,
        state.demo_coef,
    )
    return Knobs(*torch.tensor(numbers, dtype=torch.float32, device=parts.flat.device))
