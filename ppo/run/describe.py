"""The numbers and words of an update that the update itself cannot know: schedules, normalisers, episodes, speed."""

from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig

from ppo.buffer.data import Batch, Transition, tree_map
from ppo.network.normaliser import ObsNormaliser
from ppo.run.assemble import Parts, State
from ppo.update.loop import Halt


def describe(
    cfg: DictConfig,
    state: State,
    updated: dict,
    rollout: Transition,
    batch: Batch,
    episodes: list,
    seconds: tuple[float, float],
) -> dict[str, float]:
    """The metrics that the update, whose own are in ``updated``, cannot know: schedules, normalisers, episodes, speed.

    ``seconds``: what rollout and update took.
    """
    steps = len(batch.value)
    acted = tree_map(lambda x: x.flatten(0, 1).to(batch.value.device), rollout.policy)
    metrics: dict[str, float] = {
        "check/acting": batch.policy.distance(acted).item(),
        "lr": cast(float, state.lr),
        "clip/low": cast(float, state.clip_low),
        "clip/high": cast(float, state.clip_high),
        "reward/scale": state.reward_scale.moments.std.item() if cfg.normalise.reward else 1.0,
        "obs/clipped": (batch.obs.abs() >= cfg.normalise.clip_obs).float().mean().item() if cfg.normalise.obs else 0.0,
        "time/rollout": seconds[0],
        "time/update": seconds[1],
        "speed/rollout": steps / seconds[0],
        "speed/update": steps / seconds[1],
        "speed/total": steps / sum(seconds),
    }
    if state.demo_coef:
        metrics["bc/coef"] = state.demo_coef
    if state.beta:
        metrics["penalty/beta"] = state.beta
    if cfg.target_kl:
        metrics["kl/overshoot"] = updated["kl/final"] / cfg.target_kl - 1
    if episodes:
        returns, lengths = np.array(sorted(episodes)).T  # in an order that does not depend on who stepped them
        metrics |= {
            "train/return": returns.mean(),
            "train/length": lengths.mean(),
            "train/episodes": len(episodes),
        }
    return metrics


@torch.no_grad()
def reference_metrics(parts: Parts, state: State, normalise: ObsNormaliser) -> dict[str, float]:
    """How strongly the reference pulled, and how far from it the policy is now where nothing was learned."""
    if parts.reference is None:
        return {}
    metrics = {"reference/coef": cast(float, state.reference_coef)}
    if parts.held_out is not None:
        policy = parts.network.policy(normalise(parts.held_out))
        kl = parts.reference.divergence(policy, parts.reference.policy(parts.held_out))
        metrics["reference/kl_held_out"] = kl.mean().item()
    return metrics


def explain(halt: Halt, cfg: DictConfig) -> str:
    """One line: why the update stopped; estimator, value, limit, epoch and minibatch."""
    where = f"epoch {halt.epoch}, minibatch {halt.minibatch}"
    if halt.reason == "nonfinite":
        return f"a non-finite number at {where}; the step was refused, the weights are as before it"
    if halt.reason == "ratio":
        return f"stopped before {where}: mean |ratio - 1| {halt.value:.4g} > {halt.limit:.4g}"
    estimator = "exact" if halt.reason == "rollback" else str(cfg.kl._target_).rsplit(".", 1)[-1]
    limit = f"{halt.limit:.4g} ({cfg.stop.factor:g} x target_kl {cfg.target_kl:g})"
    done = {"minibatch": "stopped before", "epoch": "stopped after", "rollback": "undid"}[halt.reason]
    where = f"epoch {halt.epoch}" if halt.reason == "rollback" else where
    return f"{done} {where}: {estimator} KL {halt.value:.4g} > {limit}"
