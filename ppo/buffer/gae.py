"""Generalised advantage estimation."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def gae(
    reward: Float[Tensor, "T *N"],
    value: Float[Tensor, "T *N"],
    next_value: Float[Tensor, "T *N"],
    terminated: Shaped[Tensor, "T *N"],
    done: Shaped[Tensor, "T *N"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "T *N"]:
    """Advantages; the critic's target is ``advantage + value``. Time is axis 0. Schulman et al. 2016, equation 16.

        delta_t = r_t + gamma V(s'_t) (1 - terminated_t) - V(s_t)
        A_t     = delta_t + gamma lam (1 - done_t) A_{t+1}

    ``next_value`` is the value of the true successor s'_t, before any reset: a truncated episode is bootstrapped with
    its last observation. Termination does not bootstrap, and wins where a step is both. ``done`` (either) cuts the
    trace. Units: those of the reward.
    """
    delta = reward + gamma * torch.where(terminated.bool(), 0, next_value) - value
    trace = gamma * lam * (~(terminated.bool() | done.bool())).to(delta.dtype)
    advantage = torch.empty_like(delta)
    following = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        following = advantage[t] = delta[t] + trace[t] * following
    return advantage
