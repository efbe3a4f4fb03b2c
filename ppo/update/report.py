"""The numbers of an update: what its steps, its batch and its end say."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch, in_pieces, tree_map
from ppo.loss.kl import FAMILY, SAMPLED
from ppo.network.distributions import Policy
from ppo.update.measure import Measured
from ppo.update.step import Step
from ppo.update.table import Table

_SUSPECTS = (
    "something moved between acting and learning (a normaliser, dropout, an environment that changes its observations?)"
)


class OffPolicyError(RuntimeError):
    """The policy at the first minibatch was not the one that acted."""


ROUNDING = (
    1000 * torch.finfo(torch.float32).eps
)  # of a parameter of size 1, with room: a 256x256 network errs by 14 eps


def check_acting(acted: Policy, batch: Batch, *, limit: float, chunk: int = 1) -> dict[str, float]:
    """The policy that acted, ``[T, N]``, and the one that is learned from are the same, before anything is learned.
    ``chunk``: the batch's, see ``in_pieces``.

    Raises OffPolicyError where a parameter differs by more than ``limit``, in units of its deviation, and by more than
    rounding: float32's resolution, magnified by a small deviation. Returns what was found, for the metrics.
    """
    acted = tree_map(lambda x: in_pieces(x, chunk).flatten(0, 1), acted)
    apart, rounding = batch.policy.distance(acted).item(), ROUNDING * batch.policy.sharpness().item()
    if not apart <= limit + rounding and math.isfinite(rounding):
        raise OffPolicyError(
            f"the policy that acted is up to {apart:.3g} sigma away from the one that is to learn (rounding explains "
            f"{rounding:.3g}): {_SUSPECTS}"
        )
    return {"check/acting": apart, "check/rounding": rounding}


def check_on_policy(metrics: Mapping[str, Any], *, limit: float) -> None:
    """At the first step of an update old and new policy are the same, so that ratio is 1 and KL 0.

    Raises OffPolicyError as ``check_acting`` does, before the update is taken. One that was refused for a number that is
    not finite says nothing of that.
    """
    if metrics.get("update/stop") == "nonfinite":
        return
    ratio, kl, rounding = (float(metrics[f"check/{x}"]) for x in ("first_log_ratio", "first_kl", "rounding"))
    if not ratio <= limit + rounding:
        raise OffPolicyError(
            f"at the first minibatch max |log ratio| is {ratio:.3g} (KL {kl:.3g}), not 0 (rounding explains "
            f"{rounding:.3g}): {_SUSPECTS}"
        )


def _size(x: float) -> float:
    """For the largest in magnitude: NaN above all."""
    return math.inf if math.isnan(x) else abs(x)


def summarise(step: Step, table: Table) -> dict[str, float]:
    """Reduce the steps' metrics to the update's, over the steps taken that had a sample: each as ``step.reduce`` says.

    A refused step enters none of them; its non-finite samples are counted all the same. The errors of the sampled KL
    estimators are their means less that of ``exact``.
    """
    first, executed = table.row(0), table.part((table["taken"] > 0) & (table["samples"] > 0))
    metrics = {
        "check/first_kl": max((abs(first[f"kl/{name}"]) for name in FAMILY), key=_size),
        "check/first_log_ratio": first["max_log_ratio"],
        "guard/nonfinite": table["guard/nonfinite"].sum().item(),
    }
    if len(executed.rows) == 0:
        return metrics
    left_out = ("taken", "samples", "kl/stop", "max_log_ratio", *metrics)
    metrics |= {name: step.reduce[name](executed[name]).item() for name in table.names if name not in left_out}
    return metrics | {f"kl/error_{name}": metrics[f"kl/{name}"] - metrics["kl/exact"] for name in SAMPLED}


def kl_path(table: Table, after: Float[Tensor, " epochs"] | None, per_epoch: int) -> dict[str, list]:
    """The path of the KL, short enough to be kept: a limit is first exceeded where the KL exceeds all before it.

    ``table``: the steps taken and the refused one. ``after``: the KL on the whole batch after each epoch, where measured.
    """
    names = [name for name in table.names if name.startswith("kl/") and name != "kl/stop"]
    kl = torch.stack([table[name] for name in names], dim=1)
    kl = kl.nan_to_num(nan=math.inf).clamp(max=torch.finfo(kl.dtype).max)
    done = int(table["taken"].sum()) // per_epoch
    known = (table["samples"] > 0)[: done * per_epoch].view(done, per_epoch, 1)
    means = torch.where(known, kl[: done * per_epoch].view(done, per_epoch, len(names)), 0).sum(1) / known.sum(1).clamp(
        min=1
    )
    highest = kl.clamp(min=0).cummax(0).values
    rises = kl > torch.cat([torch.zeros_like(highest[:1]), highest[:-1]])
    paths: dict[str, list] = {"trace/first": _digits(kl[::per_epoch, names.index("kl/exact")])}
    for i, name in enumerate(name.removeprefix("kl/") for name in names):
        steps = rises[:, i].nonzero().flatten()
        paths[f"trace/{name}"] = [[s + 1, x] for s, x in zip(steps.tolist(), _digits(kl[steps, i]), strict=True)]
        paths[f"trace/epoch/{name}"] = _digits(means[:, i])
    return paths if after is None else paths | {"trace/after": _digits(after[:done])}


def _digits(values: Float[Tensor, " n"]) -> list[float]:
    """With the nine digits that tell one float32 from another, and no more."""
    return [float(f"{x:.9g}") for x in values.tolist()]


def measured_metrics(measured: Measured) -> dict[str, float]:
    """The distance to the behaviour policy after the update, in all and by action dimension."""
    metrics = {
        "kl/final": measured.kl.item(),
        "kl/final_reverse": measured.reverse.item(),
        "kl/chosen": measured.chosen.item(),
    }
    if measured.reference is not None:
        metrics["reference/kl"] = measured.reference.item()
    for name, part in measured.parts.items():
        values = part.tolist()
        metrics |= {f"{name}/{d}": x for d, x in enumerate(values)}
        metrics[name] = sum(values)  # as parts of a KL add up
        if name == "policy/sigma":
            metrics |= {name: sum(values) / len(values), f"{name}_min": min(values), f"{name}_max": max(values)}
    return metrics


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
