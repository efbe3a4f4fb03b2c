"""How far a policy is from the one that acted, on a whole batch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import unflatten
from ppo.types import Batch


class Measured(NamedTuple):
    """Means over the batch [nats]; by action dimension where they have one."""

    mean_part: Float[Tensor, " A"]  # of KL(old || new): the part of the means
    sigma_part: Float[Tensor, " A"]  # and of the deviations
    reverse: Float[Tensor, ""]  # KL(new || old)
    chosen: Float[Tensor, ""]  # the estimator chosen by kl=
    sigma: Float[Tensor, " A"]  # the policy's standard deviation

    @property
    def kl(self) -> Float[Tensor, ""]:
        """KL(old || new), exact."""
        return (self.mean_part + self.sigma_part).sum()


def build_measure(network: ActorCritic, kl: Callable, *, clamp: float) -> Callable[[Tensor, Batch], Measured]:
    """``measure(params, batch)``. ``clamp`` bounds the log-ratio that a sampled estimator sees."""
    cut = unflatten(network)

    @torch.no_grad()
    def measure(params: Float[Tensor, " P"], batch: Batch) -> Measured:
        policy, _ = functional_call(network, cut(params), (batch.obs,))
        log_ratio = policy.log_ratio(batch.policy, batch.action).clamp(-clamp, clamp)
        weight = batch.mask.float() / batch.mask.sum().clamp(min=1)
        mean_part, sigma_part = ((weight[:, None] * part).sum(0) for part in batch.policy.kl_parts(policy))
        return Measured(
            mean_part,
            sigma_part,
            reverse=(weight * policy.kl(batch.policy)).sum(),
            chosen=(weight * kl(batch.policy, policy, log_ratio)).sum(),
            sigma=(weight[:, None] * policy.log_std.exp()).sum(0),
        )

    return measure
