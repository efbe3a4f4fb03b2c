"""The update: epochs of minibatch steps on one batch, until done or stopped, and what is to be said about it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from ppo.buffer.trajectory import shuffle, unstack
from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import unflatten
from ppo.types import Batch
from ppo.update.gradient_step import FAMILY, METRICS, STOPS, Knobs
from ppo.update.optim import Learner
from ppo.update.stop import Limits


class Halt(NamedTuple):
    """Why, where and by how much an update ended early. Epoch and minibatch count from 1."""

    reason: str  # minibatch, epoch, rollback or nonfinite
    value: float  # the KL that was too large [nats]
    limit: float
    epoch: int
    minibatch: int


def update(
    step: Callable,
    measure: Callable,
    learner: Learner,
    batch: Batch,
    knobs: Knobs,
    limits: Limits,
    norm: Callable,
    generator: torch.Generator,
    *,
    epochs: int,
    minibatch_size: int,
) -> tuple[Learner, Halt | None, dict[str, float]]:
    """Up to ``epochs`` passes over the batch; returns the new learner, why it halted, and its metrics.

    The behaviour policy in ``batch`` stays the same for all epochs. On a CPU a refused step ends the update at once; on
    other devices the remaining steps of the epoch run as no-ops, so that nothing waits for the device in between.
    """
    learner = learner._replace(stopped=torch.zeros_like(learner.stopped))
    eager_stop = batch.value.device.type == "cpu"
    rows, kept, halt, signs_changed = [], 0, None, 0.0
    for epoch in range(1, epochs + 1):
        before = learner
        minibatches = shuffle(batch, minibatch_size, generator)
        raw = minibatches.advantage
        minibatches = minibatches._replace(advantage=norm(raw, minibatches.group, minibatches.mask))
        if epoch == 1:
            signs_changed = (raw.sign() != minibatches.advantage.sign())[minibatches.mask].float().mean().item()
        first = len(rows)
        for minibatch in unstack(minibatches):
            learner, row = step(learner, minibatch, knobs)
            rows.append(row)
            if eager_stop and learner.stopped:
                break
        done = torch.stack(rows[first:])
        taken = int(done[:, 0].sum())
        stop_kl = done[:, METRICS.index("kl/stop")]
        if learner.stopped:
            reason = STOPS[int(learner.stopped)]
            halt = Halt(reason, stop_kl[taken].item(), limits.minibatch, epoch, taken + 1)
        elif not (mean := stop_kl.mean().item()) <= limits.epoch:
            halt = Halt("epoch", mean, limits.epoch, epoch, taken)
        elif limits.batch < math.inf and not (kl := measure(learner.params, batch)["kl/final"]) <= limits.batch:
            halt = Halt("rollback", kl, limits.batch, epoch, taken)
            learner = before
            break
        kept += taken
        if halt:
            break
    planned = epochs * (len(batch.value) // minibatch_size)
    metrics = summarise(torch.stack(rows), knobs) | measure(learner.params, batch) | batch_metrics(batch)
    metrics |= {
        "update/epochs": kept * minibatch_size / len(batch.value),
        "update/steps": kept,
        "update/planned": planned,
    }
    metrics |= {"update/stop": halt.reason if halt else "none", "advantage/sign_flip": signs_changed}
    if halt:
        metrics |= {f"stop/{field}": getattr(halt, field) for field in Halt._fields[1:]}
    return learner, halt, metrics


class OffPolicyError(RuntimeError):
    """The policy at the first minibatch was not the one that acted."""


def check_on_policy(metrics: dict[str, float], *, first_log_ratio: float) -> None:
    """Before the first step of an update old and new policy are the same; whatever differs is a bug, not learning."""
    found = metrics["check/first_log_ratio"]
    if not found <= first_log_ratio:
        raise OffPolicyError(
            f"at the first minibatch max |log ratio| is {found:.3g} (KL {metrics['check/first_kl']:.3g}), not 0: something "
            "moved between acting and learning (a normaliser, dropout, an environment that changes its observations?)"
        )


def summarise(rows: Float[Tensor, "steps metrics"], knobs: Knobs) -> dict[str, float]:
    """Reduce the steps' metrics to the update's: means over the steps taken, sums of counts, extremes of extremes.

    A refused step enters none of the means; its non-finite samples are counted all the same.
    """
    first, named = rows[0], dict(zip(METRICS, rows[rows[:, 0] > 0].unbind(1), strict=True))
    at_first = dict(zip(METRICS, first.tolist(), strict=True))
    metrics = {
        "check/first_kl": at_first["kl/exact"],
        "check/first_log_ratio": at_first["max_log_ratio"],
        "guard/nonfinite": rows[:, METRICS.index("guard/nonfinite")].sum().item(),
    }
    if named["taken"].numel() == 0:
        return metrics
    for name, values in named.items():
        if name in ("taken", "kl/stop", "max_log_ratio", "guard/nonfinite"):
            continue
        reduce = {"ratio/min": Tensor.min, "ratio/max": Tensor.max}.get(name, Tensor.mean)
        metrics[name] = (Tensor.sum if name.startswith("guard/") else reduce)(values).item()
    metrics |= {f"kl/error_{k}": metrics[f"kl/{k}"] - metrics["kl/exact"] for k in FAMILY if k.startswith("k")}
    if knobs.entropy > 0:
        metrics["loss/entropy"] = -metrics["policy/entropy"]
    if knobs.kl > 0:
        metrics["loss/kl"] = named["kl/stop"].mean().item()
    return metrics


def build_measure(network: ActorCritic, kl: Callable, *, clamp: float) -> Callable[[Tensor, Batch], dict[str, float]]:
    """``measure(params, batch)``: the KL of these parameters to the behaviour policy on the whole batch, exactly."""
    cut = unflatten(network)

    @torch.no_grad()
    def measure(params: Float[Tensor, " P"], batch: Batch) -> dict[str, float]:
        policy, _ = functional_call(network, cut(params), (batch.obs,))
        log_ratio = policy.log_ratio(batch.policy, batch.action).clamp(-clamp, clamp)
        weight = (batch.mask.float() / batch.mask.sum().clamp(min=1)).unsqueeze(-1)
        mean_part, sigma_part = ((weight * part).sum(0) for part in batch.policy.kl_parts(policy))
        chosen = (weight[:, 0] * kl(batch.policy, policy, log_ratio)).sum()
        reverse = (weight[:, 0] * policy.kl(batch.policy)).sum()
        sigma = (weight * policy.log_std.exp()).sum(0)
        mean_parts, sigma_parts, sigmas = mean_part.tolist(), sigma_part.tolist(), sigma.tolist()
        return {
            "kl/final": sum(mean_parts) + sum(sigma_parts),
            "kl/final_reverse": reverse.item(),
            "kl/chosen": chosen.item(),
            "kl/mean_part": sum(mean_parts),
            "kl/sigma_part": sum(sigma_parts),
            "policy/sigma": sum(sigmas) / len(sigmas),
            "policy/sigma_min": min(sigmas),
            "policy/sigma_max": max(sigmas),
            **{f"kl/mean_part/{d}": x for d, x in enumerate(mean_parts)},
            **{f"kl/sigma_part/{d}": x for d, x in enumerate(sigma_parts)},
            **{f"policy/sigma/{d}": x for d, x in enumerate(sigmas)},
        }

    return measure


def batch_metrics(batch: Batch) -> dict[str, float]:
    """What the batch itself says: advantages before normalisation, targets, and how well the critic foresaw them."""
    advantage, value, target = (x[batch.mask].double() for x in (batch.advantage, batch.value, batch.target))
    variance = target.var(correction=0)
    unexplained = (target - value).var(correction=0)
    return {
        "advantage/mean": advantage.mean().item(),
        "advantage/std": advantage.std(correction=0).item(),
        "advantage/max_abs": advantage.abs().max().item(),
        "value/mean": value.mean().item(),
        "target/mean": target.mean().item(),
        "target/std": variance.sqrt().item(),
        "value/explained_variance": (1 - unexplained / variance).item() if variance > 0 else math.nan,
    }
