"""The step that ``objective=trpo`` ends an update with: along the natural gradient, to where the KL allows.

Schulman et al. 2015, "Trust Region Policy Optimization", appendix C. The critic has been trained before, by the same
minibatch steps as ever; here the policy moves, once, on the whole batch.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, grad_and_value, jvp

from ppo.buffer.data import Batch, tree_map
from ppo.network.flat import Evaluate, box
from ppo.update.optim import Learner
from ppo.update.step import GOING
from ppo.update.total import Knobs

Finish = Callable[[Learner, Batch, Knobs], tuple[Learner, dict[str, Tensor]]]


def stay(learner: Learner, minibatches: Batch, knobs: Knobs) -> tuple[Learner, dict[str, Tensor]]:
    """How an update ends where minibatch steps are all there is to it."""
    return learner, {}


def build_natural_step(
    evaluate: Evaluate,
    loss: Callable,
    target_kl: float,  # unless the knobs say another
    *,
    cg_steps: int,
    damping: float,
    backtracks: int,
    shrink: float,
) -> Finish:
    """``finish(learner, minibatches [K, M, ...], knobs) -> (learner, metrics)``.

    loss: of ``build_loss``, without the critic's term; g is its gradient on all K M samples together.
    With F the Hessian of the mean exact KL(policy now || policy at params), in products with vectors only: x solves
    (F + damping) x = -g by ``cg_steps`` of conjugate gradient, and the step is shrink^j sqrt(2 target_kl / x'(F + damping)x) x
    with the first j < backtracks at which the loss is lower and the mean exact KL(old || new) at most target_kl. Where
    there is none, or the update was stopped, nothing moves. Reads nothing back from the device.
    """
    low, high = box(evaluate.network)

    def finish(learner: Learner, minibatches: Batch, knobs: Knobs) -> tuple[Learner, dict[str, Tensor]]:
        batch = tree_map(lambda x: x.flatten(0, 1), minibatches)
        weight = batch.mask.to(batch.value.dtype) / batch.mask.sum().clamp(min=1)
        bound = knobs.width.get("target_kl", target_kl)
        start = learner.params
        gradient, (before, samples) = grad_and_value(loss, has_aux=True)(start, batch, weight, knobs)

        def kl_from_here(params: Tensor) -> Tensor:
            return (weight * samples.policy.kl(evaluate.policy(params, batch))).sum()

        def fisher(x: Tensor) -> Tensor:
            return jvp(grad(kl_from_here), (start,), (x,))[1] + damping * x

        x = conjugate_gradient(fisher, -gradient, cg_steps)
        full = (2 * bound / (x @ fisher(x))).sqrt() * x  # damped: along flat directions F alone would let it run
        params, taken = start, torch.zeros_like(before)
        for j in range(backtracks):
            candidate = (start + shrink**j * full).clamp(low, high)
            after, there = loss(candidate, batch, weight, knobs)
            within = (weight * batch.policy.kl(there.policy)).sum() <= bound
            better = (taken == 0) & (learner.stopped == GOING) & within & (after < before)  # NaN: neither
            params, taken = torch.where(better, candidate, params), torch.where(better, shrink**j, taken)
        return learner._replace(params=params), {"trpo/step": taken}

    return finish


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Float[Tensor, " P"], steps: int, *, tiny: float = 1e-20
) -> Float[Tensor, " P"]:
    """x with A x = b approximately, after ``steps`` steps; ``product(x)`` is A x, A symmetric positive definite."""
    x, residual, direction = torch.zeros_like(b), b, b
    length = residual @ residual
    for _ in range(steps):
        image = product(direction)
        by = length / (direction @ image).clamp(min=tiny)
        x, residual = x + by * direction, residual - by * image
        new = residual @ residual
        direction, length = residual + new / length.clamp(min=tiny) * direction, new
    return x
