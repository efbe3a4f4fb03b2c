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
from ppo.buffer.minibatches import blank, random_order, shuffle
from ppo.control.stop import Limits
from ppo.update.measure import Measured
from ppo.update.natural import Finish, stay
from ppo.update.optim import Learner
from ppo.update.outer import Outer
from ppo.update.outer import stay as where_it_ends
from ppo.update.report import batch_metrics, kl_path, measured_metrics, summarise
from ppo.update.step import EPOCH, GOING, LIMIT, NONFINITE, ROLLBACK, Step
from ppo.update.table import Table
from ppo.update.total import Knobs

Refresh = Callable[[Tensor, Batch], Batch]


class Update(NamedTuple):
    """What an update needs and never changes; built by keyword where a run is put together."""

    step: Step
    measure: Callable[[Tensor, Batch], Measured]
    norm: Callable  # see ppo.loss.norm
    limits: Limits
    epochs: int
    minibatch_size: int
    finish: Finish = stay  # how an update ends: see ppo.update.natural
    outer: Outer = where_it_ends  # how far it then goes along the way it went: see ppo.update.outer
    rpo: float = 0.0  # half-width of the noise on the policy's mean, drawn anew for each sample and epoch
    chunk: int = 1  # samples in a row that stay together: see ppo.network.memory


class Halt(NamedTuple):
    """Why, where and by how much an update ended early. Epoch and minibatch count from 1."""

    reason: str  # the stop rule's name, or nonfinite
    metric: str  # what was looked at
    value: float  # its value, which was too large
    limit: float
    epoch: int
    minibatch: int
    undone: bool = False  # the epoch that went too far was taken back


class Trace(NamedTuple):
    """What the epochs of an update left behind, on the device."""

    table: Table  # of every step
    ends: list[Tensor]  # the KL that each epoch ended with
    flips: Tensor  # advantages of the first epoch whose sign the normaliser changed
    zeroed: Tensor  # those of which it left nothing
    minibatches: Batch  # [K, M, ...] of the last epoch, advantages normalised
    scale: Tensor | None  # what the normaliser keeps for the next update


def keep(params: Tensor, batch: Batch) -> Batch:
    """Every epoch learns from the same advantages."""
    return batch


def update(
    bound: Update,
    learner: Learner,
    batch: Batch,
    knobs: Knobs,
    generator: torch.Generator,
    *,
    refresh: Refresh = keep,
    last_scale: float | None = None,
) -> tuple[Learner, Halt | None, dict[str, Any]]:
    """Up to ``epochs`` passes over the batch, then ``finish``; returns the new learner, why it halted, and its metrics.

    The behaviour policy in ``batch`` stays the same for all epochs. ``refresh(params, batch)`` gives the batch that the
    next epoch learns from; ``last_scale`` is what the normaliser kept of the last update.
    """
    batch = blank(batch)
    start = learner
    learner, trace = run_epochs(bound, learner, batch, knobs, generator, refresh=refresh, last_scale=last_scale)
    learner, finished = bound.finish(learner, trace.minibatches, knobs)
    learner, gone = bound.outer(start, learner, knobs, lambda params: bound.measure(params, batch).kl)
    finished |= gone
    if trace.scale is not None:
        finished["advantage/scale"] = trace.scale

    per_epoch = len(batch.value) // bound.minibatch_size
    table, kl_after = trace.table.cpu(), torch.stack(trace.ends).cpu()
    taken = int(table["taken"].sum())
    halt = _explain(int(learner.stopped), bound, table, kl_after, taken, per_epoch)
    undone = per_epoch if halt and halt.undone else 0
    if halt and halt.reason == "nonfinite" and bound.limits.batch < math.inf:
        undone = taken % per_epoch
    # With the refused step, without the idle ones after it; where an epoch's end stopped, no step was refused.
    table = table.part(slice(taken + int(int(learner.stopped) in (LIMIT, NONFINITE))))
    metrics: dict[str, Any] = summarise(bound.step, table)
    metrics |= measured_metrics(bound.measure(learner.params, batch)) | batch_metrics(batch)
    metrics |= kl_path(table, kl_after if bound.limits.batch < math.inf else None, per_epoch)
    metrics |= {
        "update/epochs": (taken - undone) / per_epoch,
        "update/steps": taken - undone,
        "update/planned": bound.epochs * per_epoch,
        "update/stop": halt.reason if halt else "none",
        "advantage/sign_flip": (trace.flips / batch.mask.sum()).item(),
        "advantage/zeroed": (trace.zeroed / batch.mask.sum()).item(),
    }
    metrics |= {name: number.item() for name, number in finished.items()}
    if halt:
        metrics |= {f"stop/{field}": getattr(halt, field) for field in ("value", "limit", "epoch", "minibatch")}
    if halt and halt.reason == "nonfinite":
        bad = (f"{name}={number}" for name, number in table.row(taken).items() if not math.isfinite(number))
        metrics["stop/nonfinite"] = ", ".join(bad) or "parameters"
    return learner, halt, metrics


def undo(bound: Update, learner: Learner, batch: Batch, metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of an update that was taken back whole: they describe ``learner``, from which training continues."""
    return metrics | measured_metrics(bound.measure(learner.params, batch)) | {"update/epochs": 0.0, "update/steps": 0}


def run_epochs(
    bound: Update,
    learner: Learner,
    batch: Batch,
    knobs: Knobs,
    generator: torch.Generator,
    *,
    refresh: Refresh = keep,
    last_scale: float | None = None,
) -> tuple[Learner, Trace]:
    """The part of an update that reads nothing back from the device."""
    samples = len(batch.value)
    learner = learner._replace(stopped=torch.zeros_like(learner.stopped))
    leave_early = _looks_for_nothing(batch.value)
    ends, scale, taken = [], None, 0
    table = Table.of(tuple(bound.step.reduce), bound.epochs * (samples // bound.minibatch_size), batch.value)
    # All drawn before the first step: where the update stops must not decide what is drawn after it.
    orders = [random_order(samples, bound.chunk, generator) for _ in range(bound.epochs)]
    noises = [batch.noise] * bound.epochs
    if bound.rpo > 0:  # RPO, Rahman & Xue 2022
        noises = [bound.rpo * (2 * torch.rand(batch.action.shape, generator=generator) - 1) for _ in orders]
    for order, noise in zip(orders, noises, strict=True):
        before, first = learner, taken
        batch = refresh(learner.params, batch) if ends else batch
        minibatches = shuffle(batch._replace(noise=noise.to(batch.value)), bound.minibatch_size, order)
        advantage, now = bound.norm(minibatches.advantage, minibatches.group, minibatches.mask, last_scale)
        # What a later epoch, which has nothing more to do, would have it keep is not what is kept.
        scale = now if scale is None or now is None else torch.where(before.stopped == GOING, now, scale)
        if not ends:
            raw, mask = minibatches.advantage, minibatches.mask
            flips = ((advantage.sign() != raw.sign()) & mask).sum()
            zeroed = ((advantage == 0) & (raw != 0) & mask).sum()
        minibatches = minibatches._replace(advantage=advantage)
        learner, steps = bound.step.pass_over(learner, minibatches, knobs, table.rows[taken:], leave_early)
        taken += steps
        learner, end = _end_of_epoch(bound, learner, before, table.part(slice(first, taken)), batch)
        ends.append(end)
        if leave_early and learner.stopped:
            break
    return learner, Trace(table.part(slice(taken)), ends, flips, zeroed, minibatches, scale)


def _looks_for_nothing(x: Tensor) -> bool:
    """Whether to look at a number costs nothing where ``x`` is; elsewhere it means to wait."""
    return x.device.type == "cpu"


def _end_of_epoch(
    bound: Update, learner: Learner, before: Learner, table: Table, batch: Batch
) -> tuple[Learner, Float[Tensor, ""]]:
    """The learner after the epoch's own stop rules, and the KL that they looked at. Written so that NaN stops."""
    going = learner.stopped == GOING
    kl = table.mean("kl/stop")
    too_far = going & ~(kl <= bound.limits.epoch)
    learner = learner._replace(stopped=torch.where(too_far, EPOCH, learner.stopped))
    if bound.limits.batch < math.inf:
        kl = bound.measure(learner.params, batch).kl
        # Where a step was refused in mid-epoch, nobody looks at how far the steps before it went: they go with it.
        undo = (going & ~(kl <= bound.limits.batch)) | (learner.stopped == NONFINITE)
        restored = before._replace(stopped=torch.where(going, ROLLBACK, learner.stopped))
        learner = tree_map(lambda old, new: torch.where(undo, old, new), restored, learner)
    return learner, kl


def _explain(code: int, bound: Update, table: Table, ends: Tensor, taken: int, per_epoch: int) -> Halt | None:
    """Where the update stopped, from the steps taken: a refused step is the one after them, an epoch's end the last."""
    if code == GOING:
        return None
    limits = bound.limits
    if code in (LIMIT, NONFINITE):
        epoch, minibatch = divmod(taken, per_epoch)
        metric, limit = (bound.step.watch, limits.step) if code == LIMIT else ("kl/stop", math.inf)
        reason = limits.name if code == LIMIT else "nonfinite"
        return Halt(reason, metric, table[metric][taken].item(), limit, epoch + 1, minibatch + 1)
    epoch = taken // per_epoch
    metric, limit = ("kl/stop", limits.epoch) if code == EPOCH else ("kl/exact", limits.batch)
    return Halt(limits.name, metric, ends[epoch - 1].item(), limit, epoch, per_epoch, undone=code == ROLLBACK)
