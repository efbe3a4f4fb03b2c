"""From a configuration to the parts of a run: every choice bound to its function, nothing stepped, nothing written."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box
from omegaconf import DictConfig
from torch import Tensor

from envs.action import clip, received, tanh
from envs.base import ActionSpace, VectorEnv
from envs.device import make, on_device
from ppo.buffer.data import tree_map
from ppo.buffer.prepare import Prepare
from ppo.buffer.rewards import RewardNormaliser, RewardScale
from ppo.config.check import bind, need_continuous
from ppo.config.options import ConfigError
from ppo.control.match import Match
from ppo.control.schedule import Chosen, Schedule
from ppo.loss.reference import Reference, initial
from ppo.loss.terms import Term
from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import box, build_evaluate, constants, flatten
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.run import ranks
from ppo.run.build import HeldOut, build_network, choose_reference, held_out, obs_normaliser, restore, torch_device
from ppo.run.effects import unread
from ppo.run.film import drawn
from ppo.run.loss import choose_loss
from ppo.run.match import matching
from ppo.run.state import Kept, State
from ppo.update.compile import compile_step, compile_whole
from ppo.update.loop import Update
from ppo.update.measure import build_measure
from ppo.update.optim import Learner, adam
from ppo.update.outer import build_outer
from ppo.update.outer import none as outer_none
from ppo.update.outer import stay as straight
from ppo.update.step import build_step
from ppo.update.total import Guards, Knobs


class Parts(NamedTuple):
    """What a run is made of. Only the environments and the generator hold state of their own."""

    envs: VectorEnv
    own: slice  # the columns of the rollout that they fill
    to_world: Callable  # the sampled action -> what the environment may receive
    bounds: tuple[Tensor, Tensor] | None  # [A] each, where action=clip cuts the samples at them
    network: ActorCritic
    flat: Tensor  # [P]: its parameters are views of this buffer
    generator: torch.Generator
    start: State
    warm_up: bool  # the first rollout only gathers the statistics by which observations and rewards are normalised
    total_steps: int
    gamma: float
    normaliser: Callable[[Moments], ObsNormaliser]  # what the networks see of an observation, with these statistics
    reward_normaliser: Callable[[RewardScale], RewardNormaliser]  # likewise what the critic learns of a reward
    prepare: Prepare
    recompute: bool  # advantages anew at the start of every epoch
    schedule: Schedule
    knobs: Callable[[Chosen], Knobs]
    terms: tuple[Term, ...]  # of the loss, beside objective and critic
    update: Update
    reference: Reference | None
    held_out: HeldOut | None  # states on which its KL is measured as well
    first_log_ratio: float  # the largest |log ratio| that may be rounding
    unread: dict[str, str]  # choices that change nothing under the others: see ppo.run.effects


def assemble(cfg: DictConfig, *, begun: bool = False, reference: Kept | None = None) -> Parts:
    """Build the parts. ``begun``: the run goes on from a checkpoint of its own, which has all that ``init`` gave it; what it
    started from may be gone by now. ``reference``: its reference policy, as that checkpoint has it.

    Raises ConfigError (or EnvError) before anything is left behind.
    """
    chosen = bind(cfg)
    if cfg.eval.video:
        drawn(cfg)  # what cannot be filmed is refused here, not at the first evaluation
    device = torch_device(cfg.device)
    own = ranks.own(cfg.num_envs)
    if cfg.num_envs % ranks.size():
        raise ConfigError(f"num_envs={cfg.num_envs}: must be a multiple of the {ranks.size()} ranks")
    which = cfg.num_envs if ranks.size() == 1 else range(own.start, own.stop)
    if on_device(chosen["env"]) and ranks.size() > 1:
        raise ConfigError(
            "env: its worlds live on a device, where one process steps all of them; start it without torchrun"
        )
    if torch.get_default_dtype() != torch.float32:
        raise ConfigError(
            f"torch's default is {torch.get_default_dtype()} here; needed: torch.set_default_dtype(torch.float32)"
        )
    envs = make(chosen["env"], which, cfg.workers, device)
    envs.time_limit = cfg.env_timeout or math.inf
    try:
        if not isinstance(envs.action_space, Box):
            need_continuous(cfg, chosen)
        generator = torch.Generator().manual_seed(cfg.seed)
        quantiles = chosen["value"].keywords.get("quantiles", 1)
        network = build_network(chosen["network"], envs, generator, observe=cfg.observe, quantiles=quantiles).to(device)
        flat, evaluate = flatten(network), build_evaluate(network)
        moments = Moments.empty(*envs.observation_space.shape, device=device)
        reward_scale = RewardScale.empty(cfg.num_envs, device=device)
        kept = reference or Kept()
        if cfg.init is not None and not (begun and (kept.tensors or chosen["reference"].func is not initial)):
            moments, reward_scale = restore(cfg, network, flat, moments, reward_scale)
        normaliser = partial(
            obs_normaliser, space=envs.observation_space, on=cfg.normalise.obs, clip=cfg.normalise.clip_obs
        )
        start = normaliser(moments)
        frozen, theirs = choose_reference(cfg, chosen["reference"], network, start, envs, kept)
        demo = chosen["demo"](envs.observation_space, envs.action_space, chosen["action"].func is tanh)
        to_world = received(chosen["action"], envs.action_space, envs.device)
        to_world(np.zeros((1, *(envs.action_space.shape or ()))))  # a space that it cannot serve is refused here

        idle = unread(chosen, cfg)
        match = matching(chosen, idle, match_kl=cfg.match_kl, target_kl=cfg.target_kl)
        guards = Guards(**{key: cfg.guard[key] for key in Guards._fields})
        minimised = choose_loss(cfg, chosen, evaluate=evaluate, flat=flat, guards=guards, frozen=frozen, demo=demo)
        schedule = Schedule(minimised.lr, chosen["clip"], minimised.coef, cfg.target_kl, cfg.total_steps, match)

        limits = chosen["stop"](cfg.target_kl)
        outer = chosen["outer"].func is not outer_none
        choice = str(cfg.compile).lower()
        planned = cfg.total_steps // cfg.num_envs
        envs.compile(partial(compile_whole, choice=choice, planned=planned, on=device.type, what="the world's step"))
        step = build_step(
            evaluate,
            minimised.loss,
            guards,
            watch=limits.metric,
            micro_batches=cfg.micro_batches,
            optimiser=partial(adam, **cfg.adam),
            rate=minimised.rate,
        )
        update = Update(
            step=compile_step(step, choice, planned_steps(cfg), on=device.type, agree=_all_ranks),
            measure=build_measure(
                evaluate, chosen["kl"], clamp=cfg.guard.clamp, reference=frozen and frozen.divergence
            ),
            norm=chosen["norm"],
            limits=limits,
            epochs=cfg.epochs,
            minibatch_size=cfg.minibatch_size,
            finish=minimised.finish,
            outer=build_outer(chosen["outer"], box(network), limits.kl) if outer else straight,
            rpo=cfg.rpo,
            chunk=network.chunk,
        )
        return Parts(
            envs=envs,
            own=own,
            to_world=to_world,
            bounds=bounds(envs.action_space, device) if chosen["action"].func is clip else None,
            network=network,
            flat=flat,
            generator=generator,
            start=State(
                Learner.start(
                    flat.clone(),
                    lr=chosen["lr"].keywords["value"] if minimised.rate else None,
                    duals=minimised.duals,
                    velocity=chosen["outer"].keywords.get("momentum", 0) > 0,
                ),
                moments,
                reward_scale,
                schedule.start(),
                memory=network.empty_memory(cfg.num_envs, envs.device),
                recalled=frozen.policy.empty_memory(cfg.num_envs) if frozen else (),
                constants=constants(network),
                reference=tree_map(torch.clone, frozen.policy.tensors()) if frozen else (),
                reference_config=theirs,
            ),
            warm_up=warms_up(cfg),
            total_steps=cfg.total_steps,
            gamma=cfg.gamma,
            normaliser=normaliser,
            reward_normaliser=partial(RewardNormaliser.of, clip=cfg.normalise.clip_reward)
            if cfg.normalise.reward
            else lambda scale: RewardNormaliser.identity(device),
            prepare=Prepare(
                evaluate,
                gamma=cfg.gamma,
                lam=cfg.gae_lambda,
                reference=frozen and frozen.policy,
                demo=demo and partial(demo.draw, generator),
            ),
            recompute=cfg.recompute_advantage,
            schedule=schedule,
            knobs=partial(
                knobs,
                limit=limits.step,
                max_grad_norm=math.inf if cfg.max_grad_norm is None else cfg.max_grad_norm,
                value=cfg.coef.value,
                match=match,
                device=device,
            ),
            terms=minimised.terms,
            update=update,
            reference=frozen,
            held_out=held_out(frozen, to_world, partial(make, chosen["env"], device=device), seed=cfg.eval.seed),
            first_log_ratio=cfg.guard.first_log_ratio,
            unread=idle,
        )
    except BaseException:
        envs.close()
        raise


def bounds(space: ActionSpace, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """(low, high) of continuous actions."""
    if not isinstance(space, Box):
        return None
    return torch.from_numpy(space.low).to(device), torch.from_numpy(space.high).to(device)


def warms_up(cfg: DictConfig) -> bool:
    """Whether there are statistics to gather, and steps left to learn from afterwards."""
    known = cfg.init is not None or not (cfg.normalise.obs or cfg.normalise.reward)
    return cfg.normalise.warmup and not known and cfg.total_steps > cfg.num_envs * cfg.num_steps


def _all_ranks(here: bool) -> bool:
    return all(ranks.gather(here))


def planned_steps(cfg: DictConfig) -> int:
    """Gradient steps of the whole run if no update stops early."""
    batch = cfg.num_envs * cfg.num_steps
    return math.ceil(cfg.total_steps / batch) * cfg.epochs * (batch // cfg.minibatch_size)


def knobs(
    chosen: Chosen, *, limit: float, max_grad_norm: float, value: float, match: Match | None, device: torch.device
) -> Knobs:
    """The numbers of the next update, as tensors."""

    def number(x: float | None) -> Tensor:
        return torch.tensor(x, dtype=torch.float32, device=device)

    return Knobs(
        lr=number(chosen.lr),
        clip_low=number(chosen.clip_low),
        clip_high=number(chosen.clip_high),
        limit=number(limit),
        max_grad_norm=number(max_grad_norm),
        value=number(value),
        coef={name: number(weight) for name, weight in chosen.coef.items()},
        width={name: number(x) for name, x in match.numbers(chosen.match.scale).items()}
        if match and chosen.match
        else {},
    )
