"""How far a policy is from the one that acted, on a whole batch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch, in_chunks
from ppo.network.flat import Evaluate, Inputs


class Measured(NamedTuple):
    """Means over the batch [nats]."""

    kl: Float[Tensor, ""]  # KL(old || new), exact
    reverse: Float[Tensor, ""]  # KL(new || old)
    chosen: Float[Tensor, ""]  # the estimator chosen by kl=
    reference: Float[Tensor, ""] | None  # divergence from the reference policy, where there is one
    parts: dict[str, Float[Tensor, " A"]]  # by action dimension, where there are any: see Gaussian.parts


def build_measure(
    evaluate: Evaluate, kl: Callable, *, clamp: float, reference: Callable | None = None
) -> Callable[[Tensor, Batch], Measured]:
    """``measure(params, batch)``. ``clamp`` bounds the log-ratio that a sampled estimator sees; ``reference`` is the
    divergence from ``batch.reference``."""

    @torch.no_grad()
    def measure(params: Float[Tensor, " P"], batch: Batch) -> Measured:
        inputs = Inputs(batch.obs, batch.memory, batch.first)
        policy = in_chunks(lambda part: evaluate.policy(params, part), inputs, whole=evaluate.network.chunk)
        log_ratio = policy.log_ratio(batch.policy, batch.action).clamp(-clamp, clamp)
        weight = batch.mask.float() / batch.mask.sum().clamp(min=1)
        parts = {n: (weight[:, None] * part).sum(0) for n, part in batch.policy.parts(policy).items()}
        of_kl = [part for name, part in parts.items() if name.endswith("_part")]
        return Measured(
            kl=sum(of_kl).sum() if of_kl else (weight * batch.policy.kl(policy)).sum(),
            reverse=(weight * policy.kl(batch.policy)).sum(),
            chosen=(weight * kl(batch.policy, policy, log_ratio)).sum(),
            reference=None if reference is None else (weight * reference(policy, batch.reference)).sum(),
            parts=parts,
        )

    return measure
