"""Generalised advantage estimation, and the recurrence it shares with every discounted sum."""

import numpy as np
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
    mask: Shaped[Tensor, "T *N"] | None = None,
) -> Float[Tensor, "T *N"]:
    """Advantages; the critic's target is ``advantage + value``. Time is axis 0. Schulman et al. 2016, equation 16.

        delta_t = r_t + gamma V(s'_t) (1 - terminated_t) - V(s_t)
        A_t     = delta_t + gamma lam (1 - done_t) A_{t+1}

    ``next_value`` is the value of the true successor s'_t, before any reset: a truncated episode is bootstrapped with
    its last observation. Termination does not bootstrap, and wins where a step is both. ``done`` (either) cuts the
    trace. Units: those of the reward. A step that ``mask`` leaves out has an advantage of 0, so that those before it end
    with the value of the state that it began in.
    """
    delta = reward + gamma * torch.where(terminated.bool(), 0, next_value) - value
    trace = gamma * lam * (~(terminated.bool() | done.bool())).to(delta.dtype)
    if mask is not None:
        delta, trace = torch.where(mask.bool(), delta, 0), torch.where(mask.bool(), trace, 0)
    return recurrence(delta.flip(0), trace.flip(0), torch.zeros_like(delta[0])).flip(0)


def recurrence(
    x: Float[Tensor, "T *N"], decay: Float[Tensor, "T *N"], start: Float[Tensor, "*N"]
) -> Float[Tensor, "T *N"]:
    """y_t = x_t + decay_t y_{t-1}, with y_{-1} = start.

    A loop over time on the CPU, in numpy: its rows are short, so that calls and not arithmetic are what it costs. On another
    device one operation a row, and nothing is read back.
    """
    if x.device.type != "cpu":
        seen = [start]
        for row, factor in zip(x.unbind(), decay.unbind(), strict=True):
            seen.append(torch.addcmul(row, factor, seen[-1]))
        return torch.stack(seen[1:])
    rows, factors = (t.detach().numpy().reshape(len(x), -1) for t in (x.clone(), decay))
    before = start.detach().numpy().reshape(-1)
    with np.errstate(all="ignore"):  # what is not finite is told by the step that refuses it
        for row, factor in zip(rows, factors, strict=True):
            row += factor * before
            before = row
    return torch.from_numpy(rows).view(x.shape)
