"""The numbers and words of an update that the update itself cannot know: schedules, normalisers, episodes, speed."""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ppo.buffer.data import Batch, Transition
from ppo.buffer.rewards import RewardNormaliser
from ppo.control.schedule import Chosen, Schedule
from ppo.loss.reference import Reference
from ppo.network.distributions import Policy
from ppo.network.frozen import Frozen
from ppo.network.normaliser import ObsNormaliser
from ppo.run.assemble import Parts
from ppo.run.build import HeldOut
from ppo.run.state import State
from ppo.update.loop import Halt


def describe(
    parts: Parts,
    state: State,
    updated: dict,
    rollout: Transition,
    batch: Batch,
    normalise: ObsNormaliser,
    scale: RewardNormaliser,
    episodes: list,
    seconds: tuple[float, float],
) -> dict[str, float]:
    """The metrics that the update, whose own are in ``updated``, cannot know: schedules, normalisers, episodes, speed.

    ``state``: after the update. ``seconds``: what rollout and update took.
    """
    steps, chosen = len(batch.value), state.chosen
    metrics: dict[str, float] = {
        "lr": state.learner.lr.item() if isinstance(state.learner.lr, Tensor) else cast(float, chosen.lr),
        "clip/low": cast(float, chosen.clip_low),
        "clip/high": cast(float, chosen.clip_high),
        "reward/scale": scale.std.item(),
        "obs/rounded": state.obs_moments.rounded(normalise.eps).float().mean().item(),
        "obs/clipped": _share(batch.obs.abs() >= normalise.clip, batch.mask),
        "time/rollout": seconds[0],
        "time/update": seconds[1],
        "speed/rollout": steps / seconds[0],
        "speed/update": steps / seconds[1],
        "speed/total": steps / sum(seconds),
    }
    seen = rollout.mask if isinstance(rollout.mask, Tensor) else torch.ones_like(rollout.done)
    if parts.bounds is not None:
        low, high = parts.bounds
        metrics["action/clipped"] = _share((rollout.action < low) | (rollout.action > high), seen)
    metrics["reward/clipped"] = _share(scale(rollout.reward).abs() >= scale.clip, seen)
    largest = scale(state.reward_scale.largest).item()
    if largest > 0:  # before the first reward nothing is known of what a return can be
        most = largest / (1 - parts.gamma) if parts.gamma < 1 else math.inf
        metrics["value/beyond"] = _share(batch.value.abs() > most, batch.mask)
    metrics |= {term.logged_weight: cast(float, chosen.coef[term.name]) for term in parts.terms}
    if parts.schedule.match and chosen.match:
        metrics |= parts.schedule.match.metrics(chosen.match)
    if parts.schedule.target_kl:
        metrics["kl/overshoot"] = updated["kl/final"] / parts.schedule.target_kl - 1
    if isinstance(rollout.mask, Tensor):
        metrics["env/nonfinite"] = (~rollout.mask).sum().item()
    if episodes:
        returns, lengths = np.array(sorted(episodes)).T  # in an order that does not depend on who stepped them
        metrics |= {
            "train/return": returns.mean(),
            "train/length": lengths.mean(),
            "train/episodes": len(episodes),
        }
    metrics |= {f"world/{name}": number for name, number in parts.envs.log().items()}
    if parts.reference is not None and parts.held_out is not None:
        policy = Frozen(parts.network, normalise)
        metrics["reference/kl_held_out"] = kl_elsewhere(policy, parts.reference, parts.held_out)
    return metrics


def kl_elsewhere(policy: Frozen, reference: Reference, states: HeldOut) -> float:
    """How far the policy is from the reference at states from which nothing was learned [nats]."""

    def along(which: Frozen) -> Policy:
        return which.along(states.obs, states.done, which.empty_memory(states.done.shape[1]))

    return reference.divergence(along(policy), along(reference.policy)).flatten()[: states.count].mean().item()


def moved(schedule: Schedule, state: State, planned: int) -> str:
    """In words, which numbers of the next update are others because the run was ``planned`` to be one of so many steps; ""
    where none is: what adapts and what is constant does not look at how far a run is."""
    now = _numbers(schedule(state.chosen, state.seen, state.env_steps))
    then = _numbers(schedule._replace(total_steps=planned)(state.chosen, state.seen, state.env_steps))
    jumps = [
        f"{name} {before:.3g} -> {now[name]:.3g}"
        for name, before in _numbers(state.chosen).items()
        if before is not None and name in now and now[name] not in (then[name], before)
    ]
    if not jumps:
        return ""
    return f"total_steps was {planned:,} and is {schedule.total_steps:,}, so schedules jump: {', '.join(jumps)}"


def _numbers(chosen: Chosen) -> dict[str, float | None]:
    return {
        "lr": chosen.lr,
        "clip/low": chosen.clip_low,
        "clip/high": chosen.clip_high,
    } | {f"weight of {name}": weight for name, weight in chosen.coef.items()}


def explain(halt: Halt, *, kl: str, target_kl: float | None) -> str:
    """One line: why the update stopped; what was looked at, its value and limit, epoch and minibatch.

    ``kl``: the name of the estimator that ``kl/stop`` is.
    """
    where = f"epoch {halt.epoch}, minibatch {halt.minibatch}"
    if halt.reason == "nonfinite":
        return f"a non-finite number at {where}; the step was refused, the weights are as before it"
    names = {"kl/stop": f"{kl} KL", "kl/exact": "exact KL", "ratio/deviation": "mean |ratio - 1|"}
    what, limit = names.get(halt.metric, halt.metric), f"{halt.limit:.4g}"
    if halt.metric.startswith("kl/") and target_kl:
        limit += f" ({halt.limit / target_kl:g} x target_kl {target_kl:g})"
    done = {"epoch": "stopped after", "rollback": "undid"}.get(halt.reason, "stopped before")
    where = f"epoch {halt.epoch}" if halt.undone else where
    return f"{done} {where}: {what} {halt.value:.4g} > {limit}"


def _share(which: Tensor, mask: Tensor) -> float:
    """Of the entries of the samples in ``mask``, how many ``which`` marks."""
    return which[mask].float().mean().item()
