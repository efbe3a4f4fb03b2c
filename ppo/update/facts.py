"""The numbers of a gradient step: what is known at its end, and the metrics that are read from it."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.loss.kl import FAMILY, Estimator, name_of
from ppo.loss.terms import KL_OF_DEVIATIONS, KL_OF_MEANS
from ppo.update import duals as multipliers
from ppo.update.table import COUNTED, HIGHEST, LOWEST, MEAN, Reduce
from ppo.update.total import Guards, Knobs, Loss, Samples


class Facts(NamedTuple):
    """What is known at the end of a step, from which its metrics are read."""

    batch: Batch
    samples: Samples
    knobs: Knobs
    guards: Guards
    weight: Float[Tensor, " M"]  # of each sample in a mean; masked ones 0
    log_ratio: Float[Tensor, " M"]  # clamped
    ratio: Float[Tensor, " M"]
    total: Float[Tensor, ""]  # the loss
    norm: Float[Tensor, ""]  # of the gradient, before it is clipped
    shares: dict[str, Float[Tensor, ""]]  # of the terms that ask for it: see Term.share

    def mean(self, x: Tensor) -> Tensor:
        return (self.weight * x).sum()

    def counted(self, x: Tensor) -> Tensor:
        return (self.batch.mask & x).sum()

    def estimate(self, kl: Estimator) -> Tensor:
        return self.mean(kl(self.batch.policy, self.samples.policy, self.log_ratio))


Metric = tuple[Reduce, Callable[[Facts], Tensor]]  # how the steps' numbers become the update's, and a step's number


def _beyond_extremes(f: Facts) -> Tensor:
    raw = f.samples.log_ratio
    return f.counted((raw > math.log(f.guards.extreme_high)) | (raw < math.log(f.guards.extreme_low)))


_METRICS: dict[str, Metric] = {
    "samples": (COUNTED, lambda f: f.batch.mask.sum()),
    "loss/total": (MEAN, lambda f: f.total),
    "loss/policy": (MEAN, lambda f: -f.mean(f.samples.objective)),
    "loss/value": (MEAN, lambda f: f.mean(f.samples.value_loss)),
    "policy/entropy": (MEAN, lambda f: f.mean(f.samples.policy.entropy())),
    "clip/fraction": (MEAN, lambda f: f.mean(((f.ratio < f.knobs.clip_low) | (f.ratio > f.knobs.clip_high)).float())),
    "ratio/min": (LOWEST, lambda f: torch.where(f.batch.mask, f.ratio, math.inf).min()),
    "ratio/max": (HIGHEST, lambda f: torch.where(f.batch.mask, f.ratio, -math.inf).max()),
    "ratio/ess": (MEAN, lambda f: f.mean(f.ratio).square() / f.mean(f.ratio.square())),
    "ratio/deviation": (MEAN, lambda f: f.mean(torch.expm1(f.log_ratio).abs())),
    "max_log_ratio": (HIGHEST, lambda f: torch.where(f.batch.mask, f.samples.log_ratio.abs(), 0).max()),
    "grad/norm": (MEAN, lambda f: f.norm),
    "grad/clipped": (MEAN, lambda f: f.norm > f.knobs.max_grad_norm),
    "guard/clamped": (COUNTED, lambda f: f.counted(f.samples.log_ratio.abs() > f.guards.clamp)),
    "guard/warned": (COUNTED, lambda f: f.counted(f.samples.log_ratio.abs() > f.guards.warn)),
    "guard/extreme": (COUNTED, _beyond_extremes),
    "guard/nonfinite": (COUNTED, lambda f: f.counted(~torch.isfinite(f.samples.log_ratio))),
}


def step_metrics(loss: Loss) -> dict[str, Metric]:
    """Every metric of a step with this loss: the fixed ones, the KL family, and the mean of each further term."""
    family = FAMILY | {name_of(loss.kl): loss.kl}  # a person's own estimator is measured as well
    measured = {"stop": loss.kl} | family
    return (
        _METRICS
        | {f"kl/{name}": (MEAN, partial(Facts.estimate, kl=kl)) for name, kl in measured.items()}
        | {term.logged: (MEAN, partial(_mean_of_term, name=term.name)) for term in loss.terms}
        | {term.share: (MEAN, partial(_share, name=term.name)) for term in loss.terms if term.share}
        | ({name: (MEAN, partial(_knob, name=key)) for name, key in _DUALS.items()} if loss.duals else {})
    )


def _mean_of_term(f: Facts, *, name: str) -> Tensor:
    return f.mean(f.samples.terms[name])


_DUALS = {"vmpo/eta": multipliers.ETA} | {f"coef/{name}": name for name in (KL_OF_MEANS, KL_OF_DEVIATIONS)}


def _knob(f: Facts, *, name: str) -> Tensor:
    return (f.knobs.coef | f.knobs.width)[name]


def _share(f: Facts, *, name: str) -> Tensor:
    return f.shares[name]
