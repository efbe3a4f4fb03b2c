"""Train a policy with PPO: ``python -m ppo.train kl=exact norm=group``. The loop, a screen long."""

import math
import pkgutil
import time
from contextlib import closing

import torch
from omegaconf import DictConfig

from ppo.buffer.collect import collect
from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import allocate
from ppo.evaluate import Evaluation
from ppo.logging.base import Run
from ppo.run import ranks, signals
from ppo.run.assemble import assemble
from ppo.run.describe import describe
from ppo.run.folder import endpoint
from ppo.run.following import Following
from ppo.run.machine import resolve
from ppo.run.record import Record
from ppo.update.loop import keep, undo, update
from ppo.update.report import check_acting, check_on_policy


def train(cfg: DictConfig, run: Run) -> float:
    """Collect, prepare, update, move the statistics, log, save; until ``total_steps``. Returns the run's endpoint."""
    cfg = resolve(cfg)
    torch.set_num_threads(cfg.threads)
    parts = assemble(cfg)
    recording = Record if ranks.first() else Following
    with closing(parts.envs), recording(cfg, run, parts) as record, Evaluation(cfg) as evaluation:
        state, obs = record.begin(parts.start)
        memory = allocate(cfg.num_steps, cfg.num_envs, obs.shape[1], parts.network)
        while state.env_steps < parts.total_steps:
            signals.check(*ranks.gather(signals.asked()))
            chosen = parts.schedule(state.chosen, state.seen, state.env_steps)
            normalise = parts.normaliser(state.obs_moments)

            began = time.perf_counter()
            acting = (parts.envs, parts.network, normalise, parts.to_world)
            obs, episodes = ranks.agreed(collect, *acting, obs, memory, parts.generator, parts.own)
            episodes = ranks.share(memory, episodes, parts.flat)
            rollout = tree_map(lambda x: x.to(parts.flat.device), memory)
            collected = time.perf_counter()
            # The policy sees no rewards: their scale may move first, so that the very first targets have a scale.
            reward_scale = state.reward_scale.update(rollout.reward, rollout.done, gamma=parts.gamma)
            scale = parts.reward_normaliser(reward_scale)
            batch = parts.prepare(rollout, state.learner.params, normalise, scale)
            checked = check_acting(rollout.policy, batch, limit=parts.first_log_ratio)
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
                obs_moments=state.obs_moments.update(rollout.obs.flatten(0, 1)),
                reward_scale=reward_scale,
                chosen=chosen,
                env_steps=state.env_steps + rollout.reward.numel(),
                updates=state.updates + 1,
            ).note(metrics, halt)
            seconds = (collected - began, updated - collected)
            metrics |= describe(parts, state, metrics, rollout, batch, normalise, scale, episodes, seconds)
            state, evaluated = evaluation.when_due(state, parts, rollout.reward.numel())
            record(state, metrics | evaluated, halt)
    return endpoint(run.folder) if ranks.first() else math.nan


if __name__ == "__main__":
    pkgutil.resolve_name("ppo.cli:main")()  # by name: the command line imports this module, not the other way round
