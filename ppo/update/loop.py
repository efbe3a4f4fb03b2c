"""The update: epochs of minibatch steps on one batch, until done or stopped, and what is to be said about it.

The update itself reads nothing back from the device: every stop is a mask. On a CPU, where reading costs nothing, the
loop also leaves as soon as it is stopped; elsewhere the remaining steps run as no-ops. The result is the same.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch, tree_map
from ppo.buffer.minibatches import blank, shuffle, unstack
from ppo.control.stop import Limits
from ppo.update.measure import Measured
from ppo.update.natural import Finish, stay
from ppo.update.optim import Learner
from ppo.update.report import batch_metrics, kl_path, measured_metrics, summarise
from ppo.update.step import METRICS, STOPS, Knobs


class Halt(NamedTuple):
    """Why, where and by how much an update ended early. Epoch and minibatch count from 1."""

    reason: str  # one of STOPS
    value: float  # the KL [nats], or mean |ratio - 1|, that was too large
    limit: float
    epoch: int
    minibatch: int


class Trace(NamedTuple):
    """What the epochs of an update left behind, on the device."""

    table: Tensor  # [steps, metrics]: of every step
    ends: list[Tensor]  # the KL that each epoch ended with
    flips: list[Tensor]  # advantages of each epoch whose sign the normaliser changed
    minibatches: Batch  # [K, M, ...] of the last epoch, advantages normalised
    scale: Tensor | None  # what the normaliser keeps for the next update


Refresh = Callable[[Tensor, Batch], Batch]


def keep(params: Tensor, batch: Batch) -> Batch:
    """Every epoch learns from the same advantages."""
    return batch


def update(
    step: Callable[[Learner, Batch, Knobs], tuple[Learner, Tensor]],
    measure: Callable[[Tensor, Batch], Measured],
    learner: Learner,
    batch: Batch,
    knobs: Knobs,
    limits: Limits,
    norm: Callable,
    generator: torch.Generator,
    *,
    epochs: int,
    minibatch_size: int,
    finish: Finish = stay,
    refresh: Refresh = keep,
    last_scale: float | None = None,
    rpo: float = 0.0,
) -> tuple[Learner, Halt | None, dict[str, Any]]:
    """Up to ``epochs`` passes over the batch, then ``finish``; returns the new learner, why it halted, and its metrics.

    The behaviour policy in ``batch`` stays the same for all epochs. ``refresh(params, batch)`` gives the batch that the
    next epoch learns from; ``last_scale`` is what ``norm`` kept of the last update; ``rpo`` the half-width of the
    noise on the policy's mean (RPO, Rahman & Xue 2022), drawn anew for each sample and epoch.
    """
    batch = blank(batch)
    learner, trace = run_epochs(
        *(step, measure, learner, batch, knobs, limits, norm, generator),
        epochs=epochs,
        minibatch_size=minibatch_size,
        refresh=refresh,
        last_scale=last_scale,
        rpo=rpo,
    )
    learner, finished = finish(learner, trace.minibatches, knobs)
    if trace.scale is not None:
        finished["advantage/scale"] = trace.scale

    per_epoch = len(batch.value) // minibatch_size
    table, kl_after = trace.table.cpu(), torch.stack(trace.ends).cpu()
    taken = int(table[:, METRICS.index("taken")].sum())
    halt = _explain(STOPS[int(learner.stopped)], table, kl_after, taken, per_epoch, limits)
    undone = per_epoch if halt and halt.reason == "rollback" else 0
    table = table[: taken + 1]  # with the refused step, without the idle ones after it
    metrics: dict[str, Any] = {}
    metrics |= summarise(table, knobs) | measured_metrics(measure(learner.params, batch)) | batch_metrics(batch)
    metrics |= kl_path(table, kl_after if limits.batch < math.inf else None, per_epoch)
    metrics |= {
        "update/epochs": (taken - undone) / per_epoch,
        "update/steps": taken - undone,
        "update/planned": epochs * per_epoch,
        "update/stop": halt.reason if halt else "none",
        "advantage/sign_flip": (trace.flips[0] / batch.mask.sum()).item(),
    }
    metrics |= {name: number.item() for name, number in finished.items()}
    if halt:
        metrics |= {f"stop/{field}": getattr(halt, field) for field in Halt._fields[1:]}
    if halt and halt.reason == "nonfinite":
        refused = dict(zip(METRICS, table[taken].tolist(), strict=True))
        bad = (f"{name}={number}" for name, number in refused.items() if not math.isfinite(number))
        metrics["stop/nonfinite"] = ", ".join(bad) or "parameters"
    return learner, halt, metrics


def run_epochs(
    step: Callable[[Learner, Batch, Knobs], tuple[Learner, Tensor]],
    measure: Callable[[Tensor, Batch], Measured],
    learner: Learner,
    batch: Batch,
    knobs: Knobs,
    limits: Limits,
    norm: Callable,
    generator: torch.Generator,
    *,
    epochs: int,
    minibatch_size: int,
    refresh: Refresh = keep,
    last_scale: float | None = None,
    rpo: float = 0.0,
) -> tuple[Learner, Trace]:
    """The part of an update that reads nothing back from the device."""
    learner = learner._replace(stopped=torch.zeros_like(learner.stopped))
    leave_early = batch.value.device.type == "cpu"
    ends, flips, scale, taken = [], [], None, 0
    # One block, not a tensor kept of each step: thousands of small ones between the large ones that come and go would
    # let the heap grow to several times what is in use.
    table = batch.value.new_empty(epochs * (len(batch.value) // minibatch_size), len(METRICS))
    rows = table.unbind()
    # All drawn before the first step: where the update stops must not decide what is drawn after it.
    orders = [torch.randperm(len(batch.value), generator=generator) for _ in range(epochs)]
    noises = [batch.noise] * epochs
    if rpo > 0:
        noises = [rpo * (2 * torch.rand(batch.action.shape, generator=generator) - 1) for _ in range(epochs)]
    for order, noise in zip(orders, noises, strict=True):
        before, first = learner, taken
        batch = refresh(learner.params, batch) if ends else batch
        minibatches = shuffle(batch._replace(noise=noise.to(batch.value)), minibatch_size, order)
        advantage, scale = norm(minibatches.advantage, minibatches.group, minibatches.mask, last_scale)
        flips.append(((advantage.sign() != minibatches.advantage.sign()) & minibatches.mask).sum())
        minibatches = minibatches._replace(advantage=advantage)
        for minibatch in unstack(minibatches):
            learner, row = step(learner, minibatch, knobs)
            rows[taken].copy_(row)
            taken += 1
            if leave_early and learner.stopped:
                break
        learner, end = _end_of_epoch(learner, before, table[first:taken], measure, batch, limits)
        ends.append(end)
        if leave_early and learner.stopped:
            break
    return learner, Trace(table[:taken], ends, flips, minibatches, scale)


def _end_of_epoch(
    learner: Learner,
    before: Learner,
    rows: Float[Tensor, "K metrics"],
    measure: Callable[[Tensor, Batch], Measured],
    batch: Batch,
    limits: Limits,
) -> tuple[Learner, Float[Tensor, ""]]:
    """The learner after the epoch's own stop rules, and the KL that they looked at. Written so that NaN stops."""
    going = learner.stopped == 0
    kl = rows[:, METRICS.index("kl/stop")].mean()
    too_far = going & ~(kl <= limits.epoch)
    learner = learner._replace(stopped=torch.where(too_far, STOPS.index("epoch"), learner.stopped))
    if limits.batch < math.inf:
        kl = measure(learner.params, batch).kl
        undo = going & ~(kl <= limits.batch)
        restored = before._replace(stopped=torch.full_like(before.stopped, STOPS.index("rollback")))
        learner = tree_map(lambda old, new: torch.where(undo, old, new), restored, learner)
    return learner, kl


def _explain(reason: str, table: Tensor, ends: Tensor, taken: int, per_epoch: int, limits: Limits) -> Halt | None:
    """Where the update stopped, from the steps taken: a refused step is the one after them, an epoch's end the last."""
    if reason == "none":
        return None
    if reason in ("epoch", "rollback"):
        epoch = taken // per_epoch
        limit = limits.epoch if reason == "epoch" else limits.batch
        return Halt(reason, ends[epoch - 1].item(), limit, epoch, per_epoch)
    epoch, minibatch = divmod(taken, per_epoch)
    name, limit = ("ratio/deviation", limits.ratio) if reason == "ratio" else ("kl/stop", limits.minibatch)
    return Halt(reason, table[taken, METRICS.index(name)].item(), limit, epoch + 1, minibatch + 1)
