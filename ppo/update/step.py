"""The gradient step: one pure function of flat buffers, the same code eager and compiled.

    step(learner, minibatch, knobs) -> (learner, row of metrics)

Loss, gradient, guards, stop and Adam. A step that must not be taken (a limit exceeded, anything non-finite, or an update
already stopped) returns the old parameters and moments: the stop is a mask, not a branch, so that nothing has to be read
back from the device in between.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value

from ppo.buffer.data import Batch, tree_map
from ppo.buffer.minibatches import unstack
from ppo.loss.kl import FAMILY, Estimator, name_of
from ppo.loss.terms import KL_OF_DEVIATIONS, KL_OF_MEANS, At, Term
from ppo.network.distributions import Policy
from ppo.network.flat import Evaluate, box
from ppo.update import duals as multipliers
from ppo.update.optim import Learner, adam, clip_norm
from ppo.update.table import COUNTED, HIGHEST, LOWEST, MEAN, Reduce

# What Learner.stopped says. LIMIT is the limit on a step; the other two limits are looked at after an epoch.
GOING, LIMIT, NONFINITE, EPOCH, ROLLBACK = range(5)


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


class Step(NamedTuple):
    """A gradient step, and what the numbers of its row are."""

    take: Callable[[Learner, Batch, Knobs], tuple[Learner, Tensor]]
    reduce: dict[str, Reduce]  # of each metric, in the order of a row
    watch: str  # the metric that Knobs.limit bounds
    over: Callable[..., tuple[Learner, int]] | None = None  # ``one_by_one`` of this step, in one call of compiled code

    def __call__(self, learner: Learner, batch: Batch, knobs: Knobs) -> tuple[Learner, Float[Tensor, " metrics"]]:
        return self.take(learner, batch, knobs)

    def pass_over(
        self, learner: Learner, minibatches: Batch, knobs: Knobs, rows: Float[Tensor, "K metrics"], leave: bool
    ) -> tuple[Learner, int]:
        """A step with each of the minibatches ``[K, M, ...]``: the learner after the last one, and how many there were. Their
        rows go to ``rows``. ``leave``: none after the one at which the learner stopped."""
        over = self.over or partial(one_by_one, self.take)
        return over(learner, minibatches, knobs, rows, leave)


def one_by_one(
    take: Callable, learner: Learner, minibatches: Batch, knobs: Knobs, rows: Tensor, leave: bool
) -> tuple[Learner, int]:
    """``Step.pass_over``, a call a step."""
    for taken, minibatch in enumerate(unstack(minibatches), 1):
        learner, row = take(learner, minibatch, knobs)
        rows[taken - 1].copy_(row)
        if leave and learner.stopped:
            break
    return learner, taken


def _of_all(batch: Batch) -> Tensor:
    """Advantages for an objective that compares samples: -infinity where one is masked, unless all are (none weighs then)."""
    return torch.where(batch.mask | ~batch.mask.any(), batch.advantage, -math.inf)


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
        advantage = batch.advantage if loss.duals is None else _of_all(batch)
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


def build_step(
    evaluate: Evaluate,
    loss: Loss,
    guards: Guards,
    *,
    watch: str = "kl/stop",
    micro_batches: int = 1,
    optimiser: Callable = adam,
    rate: Callable | None = None,
) -> Step:
    """The step for this network and these choices. Shapes and choices are fixed here; numbers come in ``Knobs``.

    watch: the metric of a step that ``Knobs.limit`` bounds. micro_batches: parts of a minibatch whose gradients are
    accumulated. optimiser: ``(learner, gradient, lr) -> learner``. rate: ``(lr, kl) -> lr``, of ``learner.lr`` and the chosen
    KL of the minibatch, where the rate moves at every step; without it, ``knobs.lr``.
    """
    low, high = box(evaluate.network)
    total_of, measured = build_loss(evaluate, loss, guards), step_metrics(loss)
    if watch not in measured:
        raise ValueError(f"{watch!r} is no metric of a step; there are {', '.join(measured)}")

    def gradient(params: Tensor, batch: Batch, weight: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor, Samples]:
        """(gradient, loss, samples), accumulated over micro-batches: the same as of one batch, in less memory."""
        gradients, losses, samples = [], [], []
        for i in range(micro_batches):
            part = partial(tree_map, lambda x: x.tensor_split(micro_batches)[i])  # noqa: B023  used within the turn
            g, (total, s) = grad_and_value(total_of, has_aux=True)(params, part(batch), part(weight), knobs)
            gradients.append(g), losses.append(total), samples.append(s)
        if micro_batches == 1:
            return g, total, s
        return sum(gradients), sum(losses), tree_map(lambda *x: torch.cat(x), *samples)

    def share(name: str, whole: Tensor, params: Tensor, batch: Batch, weight: Tensor, knobs: Knobs) -> Tensor:
        """The length of one term's gradient over that of all the others'."""

        def alone(params: Tensor) -> Tensor:
            _, samples = total_of(params, batch, weight, knobs)
            return knobs.coef[name] * (weight * samples.terms[name]).sum()

        of_term = grad(alone)(params)
        return of_term.norm() / (whole - of_term).norm()

    def take(learner: Learner, batch: Batch, knobs: Knobs) -> tuple[Learner, Tensor]:
        weight = batch.mask.float() / batch.mask.sum().clamp(min=1)
        if loss.duals is not None:
            knobs = multipliers.into(knobs, learner.duals)
        whole, total, samples = gradient(learner.params, batch, weight, knobs)
        given = (learner.params, batch, weight, knobs)
        shares = {term.name: share(term.name, whole, *given) for term in loss.terms if term.share}
        clipped, norm = clip_norm(whole, knobs.max_grad_norm)
        log_ratio = samples.log_ratio.clamp(-guards.clamp, guards.clamp)
        moved = learner
        if rate is not None:
            kl = (weight * loss.kl(batch.policy, samples.policy, log_ratio)).sum()
            moved = learner._replace(lr=rate(learner.lr, kl))
        stepped = optimiser(moved, clipped, moved.lr if rate else knobs.lr)
        stepped = stepped._replace(params=stepped.params.clamp(low, high))
        if loss.duals is not None:
            kl = torch.stack([(weight * samples.terms[name]).sum() for name in (KL_OF_MEANS, KL_OF_DEVIATIONS)])
            own = {key: x for key, x in knobs.of("objective").items() if key != "eta"}
            stepped = stepped._replace(duals=loss.duals(learner.duals, _of_all(batch), kl, own))

        facts = Facts(batch, samples, knobs, guards, weight, log_ratio, torch.exp(log_ratio), total, norm, shares)
        values = {name: value(facts) for name, (_, value) in measured.items()}
        finite = torch.isfinite(torch.stack([total, norm, values["kl/stop"]])).all()
        finite &= torch.isfinite(stepped.params).all()
        if loss.duals is not None:
            finite &= torch.isfinite(stepped.duals.params).all()
        finite &= torch.isfinite(
            torch.where(batch.mask, samples.log_ratio, 0)
        ).all()  # the clamp would hide an infinity
        verdict = torch.where(values[watch] <= knobs.limit, GOING, LIMIT)
        stopped = torch.where(learner.stopped == GOING, torch.where(finite, verdict, NONFINITE), learner.stopped)
        taken = stopped == GOING
        learner = tree_map(lambda new, old: torch.where(taken, new, old), stepped, learner)._replace(stopped=stopped)
        return learner, torch.stack([value.detach().float() for value in (taken, *values.values())])

    return Step(take, {"taken": COUNTED} | {name: reduce for name, (reduce, _) in measured.items()}, watch)
