"""What becomes of an update's inner steps. Each option is one function ``(start, end, velocity) -> (params, velocity)``.

start: the parameters that acted, theta_k. end: where the minibatch steps led. velocity: what the option keeps of earlier
updates, 0 at first. "outer-PPO", arXiv 2411.00666.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from jaxtyping import Float
from torch import Tensor

from ppo.control.width import Width
from ppo.update.optim import Learner
from ppo.update.total import Knobs

Flat = Float[Tensor, " P"]


def none(start: Flat, end: Flat, velocity: Flat) -> tuple[Flat, Flat]:
    """theta <- theta_inner: the minibatch steps are the update."""
    return end, velocity


def step(
    start: Flat,
    end: Flat,
    velocity: Flat,
    *,
    sigma: Annotated[float | Float[Tensor, ""], Gt(0), Width(0.05, 10.0)],
    momentum: Annotated[float, Interval(ge=0, lt=1)],
) -> tuple[Flat, Flat]:
    """v <- momentum v + d, theta <- theta_k + sigma (d + momentum v), where d = theta_inner - theta_k (Nesterov's).

    sigma 1 without momentum is ``none``; below 1 the update is cautious, above it goes on where the inner steps led.
    """
    moved = end - start
    velocity = momentum * velocity + moved
    return start + sigma * (moved + momentum * velocity if momentum else moved), velocity


Outer = Callable[[Learner, Learner, Knobs, Callable[[Flat], Tensor]], tuple[Learner, dict[str, Tensor]]]
_HALVINGS = 8


def stay(start: Learner, end: Learner, knobs: Knobs, kl: Callable[[Flat], Tensor]) -> tuple[Learner, dict[str, Tensor]]:
    """How an update ends without an outer step."""
    return end, {}


def build_outer(option: Callable, box: tuple[Flat, Flat], limit: float = math.inf) -> Outer:
    """``outer(learner before, learner after the inner steps, knobs, kl) -> (learner, metrics)``.

    ``kl(params)`` is the exact KL of the whole batch. Where it is above ``limit`` the step is halved until it is not, and
    after so many halvings not taken; the velocity then takes the same share of the inner steps. Where these moved nothing
    (each was refused, or undone) there is no outer step either. ``box``: of the network's parameters, see ``flat.box``.
    """

    def outer(
        start: Learner, end: Learner, knobs: Knobs, kl: Callable[[Flat], Tensor]
    ) -> tuple[Learner, dict[str, Tensor]]:
        if torch.equal(start.params, end.params):
            return end, {"outer/step": start.params.new_zeros(())}
        before = torch.zeros_like(start.params) if isinstance(start.velocity, tuple) else start.velocity
        whole, velocity = option(start.params, end.params, before, **knobs.of("outer"))
        share, params = 1.0, whole.clamp(*box)
        while not (limit == math.inf or kl(params) <= limit):
            share = share / 2 if share > 0.5**_HALVINGS else 0.0
            params = (start.params + share * (whole - start.params)).clamp(*box)
            if share == 0:
                break
        if share < 1:
            taken = start.params + share * (end.params - start.params)
            _, velocity = option(start.params, taken, before, **knobs.of("outer"))
        kept = () if isinstance(start.velocity, tuple) else velocity
        return end._replace(params=params, velocity=kept), {"outer/step": whole.new_tensor(share)}

    return outer
