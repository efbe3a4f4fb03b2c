"""The gradient step: one pure function of flat buffers, the same code eager and compiled.

    step(learner, minibatch, knobs) -> (learner, metrics)

Loss, gradient, guards, KL stop and Adam. A step that must not be taken (KL beyond the limit, anything non-finite, or
an update already stopped) returns the old parameters and moments: the stop is a mask, not a branch, so that nothing has
to be read back from the device in between.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad_and_value

from ppo.buffer.data import Batch, tree_map
from ppo.logging.metrics import FAMILY
from ppo.loss import kl as kl_family
from ppo.network.actor_critic import ActorCritic
from ppo.network.distributions import Policy
from ppo.network.flat import box, unflatten
from ppo.update.optim import Learner, adam, clip_norm

STOPS = ("none", "minibatch", "nonfinite", "epoch", "rollback", "ratio")  # what Learner.stopped says


class Knobs(NamedTuple):
    """Numbers that may change between updates or runs. Tensors, so that changing one compiles nothing anew."""

    lr: Tensor
    clip_low: Tensor
    clip_high: Tensor
    kl_limit: Tensor  # of the chosen estimator on a minibatch; infinite for no limit
    ratio_limit: Tensor  # of the mean |ratio - 1| on a minibatch
    max_grad_norm: Tensor  # infinite for no clipping
    value: Tensor  # coefficients of the loss terms
    entropy: Tensor
    kl: Tensor
    reference: Tensor
    demo: Tensor


class Terms(NamedTuple):
    """Which functions make up the loss. A term whose coefficient is 0 is not computed at all (0 x inf is not 0)."""

    objective: Callable
    kl: Callable
    value: Callable
    use_noise: bool = False  # the policy's mean is moved by the batch's noise, in the objective alone
    use_policy: bool = True  # False: the policy is not moved by gradient steps
    use_value: bool = True
    use_entropy: bool = False
    use_kl: bool = False
    reference: Callable | None = None  # divergence from batch.reference
    use_demo: bool = False


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
    cloning_loss: Float[Tensor, " M"]


# The step's metrics are one vector, in this order; ``loop.summarise`` says how each is reduced over an update.
METRICS = (
    "taken",
    "loss/total",
    "loss/policy",
    "loss/value",
    "bc/loss",
    "policy/entropy",
    "kl/stop",
    *(f"kl/{name}" for name in FAMILY),
    "clip/fraction",
    "ratio/min",
    "ratio/max",
    "ratio/ess",
    "ratio/deviation",
    "max_log_ratio",
    "grad/norm",
    "grad/clipped",
    "guard/clamped",
    "guard/warned",
    "guard/extreme",
    "guard/nonfinite",
)


def build_loss(
    network: ActorCritic, terms: Terms, guards: Guards
) -> Callable[[Tensor, Batch, Tensor, Knobs], tuple[Tensor, Samples]]:
    """``loss(params, batch, weight, knobs) -> (what is minimised, what it was made of)``, the sum of weight x terms."""
    cut = unflatten(network)

    def loss(params: Tensor, batch: Batch, weight: Tensor, knobs: Knobs) -> tuple[Tensor, Samples]:
        policy, value = functional_call(network, cut(params), (batch.obs,))
        log_ratio = policy.log_ratio(batch.policy, batch.action)
        clamped = noisy = log_ratio.clamp(-guards.clamp, guards.clamp)
        if terms.use_noise:
            moved = policy._replace(mean=policy.mean + batch.noise)
            noisy = moved.log_ratio(batch.policy, batch.action).clamp(-guards.clamp, guards.clamp)
        objective = terms.objective(noisy, batch.advantage, knobs.clip_low, knobs.clip_high)
        total = -(weight * objective).sum() if terms.use_policy else weight.new_zeros(())
        value_loss = torch.zeros_like(objective)
        if terms.use_value:
            value_loss = terms.value(value, batch.target, batch.value)
            total = total + knobs.value * (weight * value_loss).sum()
        if terms.use_entropy:
            total = total - knobs.entropy * (weight * policy.entropy()).sum()
        if terms.use_kl:
            total = total + knobs.kl * (weight * terms.kl(batch.policy, policy, clamped)).sum()
        if terms.reference is not None:
            total = total + knobs.reference * (weight * terms.reference(policy, batch.reference)).sum()
        cloning_loss = torch.zeros_like(objective)
        if terms.use_demo:
            imitator, _ = functional_call(network, cut(params), (batch.demo.obs,))
            cloning_loss = -imitator.log_prob(batch.demo.action)
            total = total + knobs.demo * (weight * cloning_loss).sum()
        return total, Samples(policy, log_ratio, objective, value_loss, cloning_loss)

    return loss


def build_step(
    network: ActorCritic, terms: Terms, guards: Guards, *, micro_batches: int = 1, optimiser: Callable = adam
) -> Callable[[Learner, Batch, Knobs], tuple[Learner, Float[Tensor, " metrics"]]]:
    """The step for this network and these choices. Shapes and choices are fixed here; numbers come in ``Knobs``."""
    low, high = box(network)
    loss = build_loss(network, terms, guards)

    def gradient(params: Tensor, batch: Batch, weight: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor, Samples]:
        """(gradient, loss, samples), accumulated over micro-batches: the same as of one batch, in less memory."""
        gradients, losses, samples = [], [], []
        for i in range(micro_batches):
            part = partial(tree_map, lambda x: x.tensor_split(micro_batches)[i])  # noqa: B023  used within the turn
            g, (total, s) = grad_and_value(loss, has_aux=True)(params, part(batch), part(weight), knobs)
            gradients.append(g), losses.append(total), samples.append(s)
        if micro_batches == 1:
            return g, total, s
        return sum(gradients), sum(losses), tree_map(lambda *x: torch.cat(x), *samples)

    def step(learner: Learner, batch: Batch, knobs: Knobs) -> tuple[Learner, Tensor]:
        weight = batch.mask.float() / batch.mask.sum().clamp(min=1)
        grad, total, samples = gradient(learner.params, batch, weight, knobs)
        grad, norm = clip_norm(grad, knobs.max_grad_norm)
        stepped = optimiser(learner, grad, knobs.lr)
        stepped = stepped._replace(params=stepped.params.clamp(low, high))

        log_ratio = samples.log_ratio.clamp(-guards.clamp, guards.clamp)
        kl = (weight * terms.kl(batch.policy, samples.policy, log_ratio)).sum()
        deviation = (weight * torch.expm1(log_ratio).abs()).sum()
        finite = (
            torch.isfinite(total) & torch.isfinite(norm) & torch.isfinite(kl) & torch.isfinite(stepped.params).all()
        )
        finite &= torch.isfinite(
            torch.where(batch.mask, samples.log_ratio, 0)
        ).all()  # the clamp would hide an infinite one
        why = STOPS.index
        verdict = torch.where(deviation <= knobs.ratio_limit, why("none"), why("ratio"))
        verdict = torch.where(kl <= knobs.kl_limit, verdict, why("minibatch"))
        verdict = torch.where(finite, verdict, why("nonfinite"))
        stopped = torch.where(learner.stopped == 0, verdict, learner.stopped)
        taken = stopped == 0
        learner = tree_map(lambda new, old: torch.where(taken, new, old), stepped, learner)._replace(stopped=stopped)
        return learner, metrics(batch, samples, weight, total, norm, kl, deviation, taken, knobs)

    def metrics(batch, samples, weight, total, norm, kl, deviation, taken, knobs) -> Tensor:
        raw, mask = samples.log_ratio, batch.mask
        log_ratio = raw.clamp(-guards.clamp, guards.clamp)
        ratio = torch.exp(log_ratio)

        def mean(x: Tensor) -> Tensor:
            return (weight * x).sum()

        def count(x: Tensor) -> Tensor:
            return (mask & x).sum()

        family = (mean(getattr(kl_family, name)(batch.policy, samples.policy, log_ratio)) for name in FAMILY)
        values = (
            taken,
            total,
            -mean(samples.objective),
            mean(samples.value_loss),
            mean(samples.cloning_loss),
            mean(samples.policy.entropy()),
            kl,
            *family,
            mean(((ratio < knobs.clip_low) | (ratio > knobs.clip_high)).float()),
            torch.where(mask, ratio, math.inf).min(),
            torch.where(mask, ratio, -math.inf).max(),
            mean(ratio).square() / mean(ratio.square()),
            deviation,
            torch.where(mask, raw.abs(), 0).max(),
            norm,
            norm > knobs.max_grad_norm,
            count(raw.abs() > guards.clamp),
            count(raw.abs() > guards.warn),
            count((raw > math.log(guards.extreme_high)) | (raw < math.log(guards.extreme_low))),
            count(~torch.isfinite(raw)),
        )
        return torch.stack([value.detach().float() for value in values])

    return step
