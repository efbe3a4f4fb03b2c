"""What a gradient step minimises: objective, critic and further terms, of one minibatch. Pure functions of tensors."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.loss.kl import Estimator
from ppo.loss.terms import At, Term
from ppo.network.distributions import Policy
from ppo.network.flat import Evaluate


class Knobs(NamedTuple):
    """Numbers that may change between updates or runs. Tensors, so that changing one compiles nothing anew."""

    lr: Tensor
    clip_low: Tensor
    clip_high: Tensor
    limit: Tensor  # of the metric that the step watches; infinite for no limit
    max_grad_norm: Tensor  # infinite for no clipping
    value: Tensor  # weight of the critic's loss
    coef: dict[str, Tensor]  # weight of each further term, by its name
    width: dict[str, Tensor] = {}  # noqa: RUF012 - with match_kl=, what replaces the options' own: "objective.alpha"

    def of(self, group: str) -> dict[str, Tensor]:
        """The options of this group that are moved, by their names."""
        return {key.partition(".")[2]: x for key, x in self.width.items() if key.startswith(f"{group}.")}


class Loss(NamedTuple):
    """Which functions make up the loss. What has no part in it is not computed at all (0 x inf is not 0)."""

    objective: Callable  # see ppo.loss.objective
    kl: Estimator  # the one that stop, penalty and all that adapts read
    value: Callable  # see ppo.loss.value
    terms: tuple[Term, ...] = ()
    policy: bool = True  # False: the policy is not moved by gradient steps
    critic: bool = True
    project: Callable | None = None  # see ppo.loss.project
    duals: Callable | None = None  # how the multipliers of the objective move: see ppo.update.duals
    noise: bool = False  # the policy's mean is moved by the batch's noise, in the objective alone


class Guards(NamedTuple):
    """Bounds on the log-ratio. It is clamped *before* exp: after exp the gradient of a huge ratio is already NaN."""

    clamp: float = 10.0  # |log ratio| is clamped here
    warn: float = 5.0  # |log ratio| above this is counted as suspicious
    extreme_high: float = 100.0  # ratios outside [extreme_low, extreme_high] are counted
    extreme_low: float = 0.01


class Samples(NamedTuple):
    """Per sample, what the loss was made of."""

    policy: Policy  # the policy being trained
    log_ratio: Float[Tensor, " M"]  # not clamped
    objective: Float[Tensor, " M"]
    value_loss: Float[Tensor, " M"]
    terms: dict[str, Float[Tensor, " M"]]


def build_loss(
    evaluate: Evaluate, loss: Loss, guards: Guards
) -> Callable[[Tensor, Batch, Tensor, Knobs], tuple[Tensor, Samples]]:
    """``total(params, batch, weight, knobs) -> (what is minimised, what it was made of)``: the sum of weight x terms."""

    def total(params: Tensor, batch: Batch, weight: Tensor, knobs: Knobs) -> tuple[Tensor, Samples]:
        policy, prediction = evaluate(params, batch)
        log_ratio = policy.log_ratio(batch.policy, batch.action)
        clamped = noisy = log_ratio.clamp(-guards.clamp, guards.clamp)
        projected: Any = policy
        if loss.project is not None:
            projected = loss.project(batch.policy, policy, **knobs.of("project"))
            noisy = projected.log_ratio(batch.policy, batch.action).clamp(-guards.clamp, guards.clamp)
        if loss.noise:
            moved = projected._replace(mean=projected.mean + batch.noise)
            noisy = moved.log_ratio(batch.policy, batch.action).clamp(-guards.clamp, guards.clamp)
        advantage = batch.advantage if loss.duals is None else of_all(batch)
        given = (noisy, advantage, knobs.clip_low, knobs.clip_high)
        objective = loss.objective(*given, **knobs.of("objective"))
        total = -(weight * objective).sum() if loss.policy else weight.new_zeros(())
        value_loss = torch.zeros_like(objective)
        if loss.critic:
            value_loss = loss.value(prediction, batch.target, batch.value)
            total = total + knobs.value * (weight * value_loss).sum()
        at = At(policy, projected, batch, clamped, partial(evaluate, params))
        terms = {term.name: term.loss(at) for term in loss.terms}
        for name, term in terms.items():
            total = total + knobs.coef[name] * (weight * term).sum()
        return total, Samples(policy, log_ratio, objective, value_loss, terms)

    return total


def of_all(batch: Batch) -> Tensor:
    """Advantages for an objective that compares samples: -infinity where one is masked, unless all are (none weighs then)."""
    return torch.where(batch.mask | ~batch.mask.any(), batch.advantage, -math.inf)
