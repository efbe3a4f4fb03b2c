"""Train a policy with PPO: ``python -m ppo.train kl=exact norm=group``. The loop, a screen long."""

import math
import pkgutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from envs.base import EnvError, WorkerLost
from envs.fault import closing
from ppo.buffer.collect import collect
from ppo.buffer.data import Transition, tree_map
from ppo.buffer.minibatches import allocate
from ppo.buffer.rows import Episodes
from ppo.config.options import ConfigError, plain
from ppo.doctor.watch import Watch
from ppo.logging.base import Run
from ppo.network.memory import Memory
from ppo.network.normaliser import ObsNormaliser
from ppo.run import ranks, resume, signals
from ppo.run.assemble import Parts, assemble
from ppo.run.describe import describe, moved
from ppo.run.evaluation import evaluating
from ppo.run.folder import endpoint
from ppo.run.machine import resolve
from ppo.run.record import Record, recording
from ppo.run.state import State
from ppo.update.loop import keep, undo, update
from ppo.update.report import check_acting, check_on_policy


def train(cfg: DictConfig, run: Run, updates: float = math.inf) -> float:
    """Collect, prepare, update, move the statistics, record, evaluate; until ``total_steps``, or for so many ``updates``
    from here. Returns the run's endpoint."""
    cfg = resolve(cfg)
    torch.set_num_threads(cfg.threads)
    parts = assemble(cfg, begun=resume.begun(run.folder), reference=resume.reference(run.folder))
    with (
        closing(parts.envs),
        recording(cfg, run, parts, Watch(plain(cfg), parts.envs.observation_space, parts.envs.action_space)) as record,
        evaluating(cfg, parts, record.sink) as evaluation,
    ):
        envs = parts.envs
        buffer = allocate(cfg.num_steps, cfg.num_envs, envs.observation_space, parts.network, envs.device, envs.masks)
        state, obs = begin(cfg, parts, record, buffer)
        evaluation.when_due(state)  # where a run was cut off between an update and its evaluation
        last = state.updates + updates
        while state.env_steps < parts.total_steps and state.updates < last:
            signals.check(*ranks.gather(signals.asked()))
            chosen = parts.schedule(state.chosen, state.seen, state.env_steps)
            normalise = parts.normaliser(state.obs_moments)

            began = time.perf_counter()
            rollout, obs, memory, episodes = rolled(parts, normalise, obs, state.memory, buffer)
            collected = time.perf_counter()
            # The policy sees no rewards: their scale may move first, so that the very first targets have a scale.
            reward_scale = state.reward_scale.update(rollout.reward, rollout.done, rollout.mask, gamma=parts.gamma)
            scale = parts.reward_normaliser(reward_scale)
            batch = parts.prepare(rollout, state.learner.params, normalise, scale, state.recalled)
            checked = check_acting(rollout.policy, batch, limit=parts.first_log_ratio, chunk=parts.network.chunk)
            learner, halt, metrics = update(
                parts.update,
                state.learner,
                batch,
                parts.knobs(chosen),
                parts.generator,
                refresh=parts.prepare.refresh(rollout, normalise, scale) if parts.recompute else keep,
                last_scale=state.advantage_scale,
            )
            metrics |= checked
            check_on_policy(metrics, limit=parts.first_log_ratio)
            kept = record.judge(state.learner, learner, halt, metrics, batch)
            metrics = metrics if kept is learner else undo(parts.update, kept, batch, metrics)
            parts.flat.copy_(kept.params)
            updated = time.perf_counter()

            state = state._replace(
                learner=kept,
                obs_moments=state.obs_moments.update(rollout.obs.flatten(0, 1), rollout.mask),
                reward_scale=reward_scale,
                chosen=chosen,
                env_steps=state.env_steps + rollout.reward.numel(),
                updates=state.updates + 1,
                memory=memory,
                recalled=parts.prepare.recall(rollout, state.recalled),
            ).note(metrics, halt)
            seconds = (collected - began, updated - collected)
            metrics |= describe(parts, state, metrics, rollout, batch, normalise, scale, episodes, seconds)
            record(state, metrics, halt, ranks.gather(ranks.agreed(resume.episodes, parts.envs)))
            evaluation.when_due(state)  # the update is on the disk: nothing beside training makes it be done again
            record.tell(run.on_update, over=state.env_steps >= parts.total_steps)
    return endpoint(run.folder) if ranks.first() else math.nan


def rolled(
    parts: Parts, normalise: ObsNormaliser, obs: Any, memory: Memory, buffer: Transition
) -> tuple[Transition, Any, Memory, Episodes]:
    """(a rollout of all ranks where the learner is, the observations and the memory to go on with, the episodes that
    ended); ``buffer``: where it is collected."""
    acting = (parts.envs, parts.network, normalise, parts.to_world, obs, memory)
    obs, memory, episodes = ranks.agreed(collect, *acting, buffer, parts.generator, parts.own)
    episodes = ranks.share(buffer, memory, episodes, parts.flat)
    return tree_map(lambda x: x.to(parts.flat.device), buffer), obs, memory, episodes


def begin(cfg: DictConfig, parts: Parts, record: Record, buffer: Transition) -> tuple[State, Any]:
    """The state and the observations to begin with: those of the run that resumes, else of a reset and, with
    ``normalise.warmup``, a rollout (in ``buffer``) that only gathers statistics.

    Raises ConfigError where the environments do not come back exactly and ``exact_resume`` asks for it.
    """
    path = ranks.gather(str(record.saved.path) if record.saved else None)[0]  # where the first rank found a checkpoint
    if path is None:
        obs, state = parts.envs.reset(cfg.seed), parts.start
        if parts.warm_up:
            rollout, obs, memory, _ = rolled(parts, parts.normaliser(state.obs_moments), obs, state.memory, buffer)
            parts.envs.log()  # what the world says of it is no part of the first update's
            state = state._replace(
                obs_moments=state.obs_moments.update(rollout.obs.flatten(0, 1), rollout.mask),
                reward_scale=state.reward_scale.update(rollout.reward, rollout.done, rollout.mask, gamma=parts.gamma),
                env_steps=rollout.reward.numel(),
                memory=memory,
                recalled=parts.prepare.recall(rollout, state.recalled),
            )
        record.save(state, ranks.gather(ranks.agreed(resume.episodes, parts.envs)))
        return state, obs
    saved = record.saved or resume.load(Path(path))
    state = resume.thaw(saved, parts.start, parts.flat, parts.generator)
    try:
        obs = ranks.agreed(resume.put_back, saved, parts.envs, parts.own)
    except WorkerLost:
        raise
    except EnvError as error:
        if cfg.exact_resume:
            raise ConfigError(
                f"cannot resume exactly: {error}; exact_resume=false resumes with new episodes"
            ) from error
        obs = parts.envs.reset(int(np.random.SeedSequence([cfg.seed, state.env_steps]).generate_state(1)[0]))
        scale = state.reward_scale._replace(discounted=parts.start.reward_scale.discounted)
        state = state._replace(memory=parts.start.memory, recalled=parts.start.recalled, reward_scale=scale)
    record.resumed(state, moved(parts.schedule, state, saved.meta["config"]["total_steps"]))
    return state, obs


if __name__ == "__main__":
    pkgutil.resolve_name("ppo.cli:main")()  # by name: the command line imports this module, not the other way round
