"""The gradient step: one pure function of flat buffers, the same code eager and compiled.

    step(learner, minibatch, knobs) -> (learner, row of metrics)

Loss, gradient, guards, stop and Adam. A step that must not be taken (a limit exceeded, anything non-finite, or an update
already stopped) returns the old parameters and moments: the stop is a mask, not a branch, so that nothing has to be read
back from the device in between.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value

from ppo.buffer.data import Batch, tree_map
from ppo.buffer.minibatches import unstack
from ppo.loss.terms import KL_OF_DEVIATIONS, KL_OF_MEANS
from ppo.network.flat import Evaluate, box
from ppo.update import duals as multipliers
from ppo.update.facts import Facts, step_metrics
from ppo.update.optim import Learner, adam, clip_norm
from ppo.update.table import COUNTED, Reduce
from ppo.update.total import Guards, Knobs, Loss, Samples, build_loss, of_all

# What Learner.stopped says. LIMIT is the limit on a step; the other two limits are looked at after an epoch.
GOING, LIMIT, NONFINITE, EPOCH, ROLLBACK = range(5)


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
        samples_here = batch.mask.sum()
        weight = batch.mask.float() / samples_here.clamp(min=1)
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
            stepped = stepped._replace(duals=loss.duals(learner.duals, of_all(batch), kl, own))

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
        moves = taken & (samples_here > 0)  # from no sample nothing is learned, not even what the moments have kept
        going, lr = learner.stopped == GOING, learner.lr
        learner = tree_map(lambda new, old: torch.where(moves, new, old), stepped, learner)._replace(stopped=stopped)
        if rate is not None:  # a step that is refused for its KL has shown that the rate is too high
            falls = going & (stopped == LIMIT)
            lower = torch.minimum(cast(Tensor, moved.lr), cast(Tensor, lr))
            learner = learner._replace(lr=torch.where(falls, lower, cast(Tensor, learner.lr)))
        return learner, torch.stack([value.detach().float() for value in (taken, *values.values())])

    return Step(take, {"taken": COUNTED} | {name: reduce for name, (reduce, _) in measured.items()}, watch)
