"""What the optimiser owns, and one step of it: gradient norm clip, Adam, projection. Pure functions of flat buffers."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Learner(NamedTuple):
    """Parameters, Adam's moments, and whether this update has been stopped. Every tensor may be stacked over seeds.

    What only some options learn is () under the others.
    """

    params: Float[Tensor, " P"]
    m: Float[Tensor, " P"]
    v: Float[Tensor, " P"]
    count: Float[Tensor, ""]  # steps taken
    stopped: Tensor  # [] int64: a code of ``ppo.update.step``, see GOING; once non-zero, no further step is taken
    lr: Float[Tensor, ""] | tuple[()] = ()  # lr=adaptive_kl_step: the rate of the last step
    duals: Any = ()  # objective=vmpo: another Learner, see ppo.update.duals
    velocity: Float[Tensor, " P"] | tuple[()] = ()  # outer=step with momentum: see ppo.update.outer

    @staticmethod
    def start(
        params: Float[Tensor, " P"], *, lr: float | None = None, duals: Any = (), velocity: bool = False
    ) -> "Learner":
        zero = params.new_zeros(())
        rate = () if lr is None else zero + lr
        return Learner(
            params=params,
            m=torch.zeros_like(params),
            v=torch.zeros_like(params),
            count=zero,
            stopped=zero.long(),
            lr=rate,
            duals=duals,
            velocity=torch.zeros_like(params) if velocity else (),
        )


def clip_norm(
    gradient: Float[Tensor, " P"], max_norm: Float[Tensor, ""]
) -> tuple[Float[Tensor, " P"], Float[Tensor, ""]]:
    """(gradient shortened to at most ``max_norm``, its length before). The direction is kept."""
    norm = gradient.norm()
    return gradient * (max_norm / (norm + 1e-6)).clamp(max=1.0), norm


def adam(
    learner: Learner,
    gradient: Float[Tensor, " P"],
    lr: Float[Tensor, ""],
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-5,
) -> Learner:
    """One step of Adam with bias correction (Kingma & Ba 2015), the same arithmetic as ``torch.optim.Adam``."""
    count = learner.count + 1
    left1, left2 = (_kept(beta**count) for beta in (beta1, beta2))
    m = torch.lerp(learner.m, gradient, 1 - beta1)
    v = beta2 * learner.v + (1 - beta2) * gradient.square()
    denominator = v.sqrt() / (1 - left2).sqrt() + eps
    params = learner.params - lr / (1 - left1) * m / denominator
    return learner._replace(params=params, m=m, v=v, count=count)


def _kept(x: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """``x``, as a reduction: the compiler keeps the result of one, and would compute a power anew for every 16 parameters."""
    return x.expand(16).amax()


def follow_kl(
    lr: Float[Tensor, ""],
    kl: Float[Tensor, ""],
    target: float,
    *,
    tolerance: float,
    factor: float,
    min: float,
    max: float,
) -> Float[Tensor, ""]:
    """The rate of the step at a minibatch of this KL: ``ppo.control.lr.adaptive_kl_step`` in tensors.

    A KL of nothing is known to rounding: at the first minibatch of an update it is 0 in one program and 1e-15 in another.
    """
    nothing = torch.finfo(kl.dtype).eps * target
    far, near = ~(kl <= tolerance * target), (kl > nothing) & (kl < target / tolerance)  # NaN is far
    return torch.where(far, lr / factor, torch.where(near, lr * factor, lr)).clamp(min, max)
