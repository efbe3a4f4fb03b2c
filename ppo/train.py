"""Train a policy with PPO: ``python -m ppo.train kl=exact norm=group``. The loop, a screen long."""

import math
import pkgutil
import time
from contextlib import closing

import torch
from omegaconf import DictConfig

from ppo.buffer.collect import collect, prepare
from ppo.buffer.minibatches import allocate
from ppo.config.auto import resolve
from ppo.evaluate import Evaluation
from ppo.logging.base import Run
from ppo.run import ranks, signals
from ppo.run.assemble import assemble, choose, knobs, note, reward_scaler, start
from ppo.run.build import obs_normaliser
from ppo.run.describe import describe, reference_metrics
from ppo.run.folder import endpoint
from ppo.run.following import Following
from ppo.run.record import Record
from ppo.update.loop import update
from ppo.update.report import check_on_policy


def train(cfg: DictConfig, run: Run) -> float:
    """Collect, prepare, update, move the statistics, log, save; until ``total_steps``. Returns the run's endpoint."""
    cfg = resolve(cfg)
    torch.set_num_threads(cfg.threads)
    parts = assemble(cfg)
    recording = Record if ranks.first() else Following
    with closing(parts.envs), recording(cfg, run, parts) as record, Evaluation(cfg) as evaluation:
        state, obs = record.begin(start(cfg, parts))
        frozen = parts.reference and parts.reference.policy
        rollout = allocate(cfg.num_steps, cfg.num_envs, obs.shape[1], parts.network)
        while state.env_steps < cfg.total_steps:
            signals.check(*ranks.gather(signals.asked()))
            state = choose(cfg, parts, state)
            normalise = obs_normaliser(cfg, state.obs_moments)

            began = time.perf_counter()
            acting = (parts.envs, parts.network, normalise, parts.to_world)
            obs, episodes = ranks.agreed(collect, *acting, obs, rollout, parts.generator, parts.own)
            episodes = ranks.share(rollout, episodes, parts.flat)
            collected = time.perf_counter()
            # The policy sees no rewards: their scale may move first, so that the very first targets have a scale.
            reward_scale = state.reward_scale.update(rollout.reward, rollout.done, gamma=cfg.gamma)
            scale_reward = reward_scaler(cfg, reward_scale)
            ground = (rollout, parts.network, normalise, scale_reward, parts.flat.device)
            batch = prepare(*ground, gamma=cfg.gamma, lam=cfg.gae_lambda, reference=frozen, demo=parts.draw)
            learner, halt, metrics = update(
                *(parts.step, parts.measure, state.learner, batch, knobs(cfg, parts, state)),
                *(parts.limits, parts.norm, parts.generator),
                epochs=cfg.epochs,
                minibatch_size=cfg.minibatch_size,
                finish=parts.finish,
                refresh=parts.refresh(*ground),
                last_scale=state.advantage_scale,
                rpo=cfg.rpo,
            )
            learner = record.judge(state.learner, learner, halt, metrics, batch)
            parts.flat.copy_(learner.params)
            updated = time.perf_counter()

            state = state._replace(
                learner=learner,
                obs_moments=state.obs_moments.update(rollout.obs.flatten(0, 1)),
                reward_scale=reward_scale,
                env_steps=state.env_steps + rollout.reward.numel(),
                updates=state.updates + 1,
            )
            state = note(state, metrics)
            seconds = (collected - began, updated - collected)
            metrics |= describe(cfg, state, metrics, rollout, batch, episodes, seconds)
            metrics |= reference_metrics(parts, state, normalise)
            check_on_policy(metrics, limit=cfg.guard.first_log_ratio)
            state, evaluated = evaluation.when_due(state, parts, rollout.reward.numel())
            record(state, metrics | evaluated, halt)
    return endpoint(run.folder) if ranks.first() else math.nan


if __name__ == "__main__":
    pkgutil.resolve_name("ppo.cli:main")()  # by name: the command line imports this module, not the other way round
