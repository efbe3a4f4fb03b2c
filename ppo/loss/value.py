"""The critic's loss, per sample. Each option is one function ``(prediction, target, old) -> [*B]``.

``old`` is the prediction before the update. Units: squared (scaled) reward.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor


def mse(prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(prediction - target)^2."""
    return (prediction - target).square()


def huber(
    prediction: Float[Tensor, "*B"],
    target: Float[Tensor, "*B"],
    old: Float[Tensor, "*B"],
    *,
    delta: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """e^2 for |e| <= delta and delta (2 |e| - delta) beyond, e = prediction - target: ``mse`` with a gradient of at
    most 2 delta. (Twice the usual Huber loss, so that ``coef.value`` means the same for both.)"""
    e = (prediction - target).abs()
    return torch.where(e <= delta, e.square(), delta * (2 * e - delta))


def quantile(
    prediction: Float[Tensor, "*B Q"],
    target: Float[Tensor, "*B"],
    old: Float[Tensor, "*B"],
    *,
    quantiles: Annotated[int, Ge(2)],
    kappa: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """(mean of the quantiles - target)^2, and for their shape around it the mean over quantiles i of

        4 |tau_i - [u_i < 0]| h(u_i) / kappa,  u_i = target - prediction_i,  tau_i = (i + 1/2) / Q

    h is Huber's: u^2 / 2 up to ``kappa``, kappa (|u| - kappa / 2) beyond. (4: at the median, with kappa 1, an error
    costs what it costs in ``mse``.) Dabney et al. 2018 (QR-DQN). The critic has ``quantiles`` outputs, its value is their
    mean. The second part alone would leave that mean biased where returns are skewed, by 13 % for an exponential: so it
    moves the quantiles against each other only, and the first part moves their mean.
    """
    mean = prediction.mean(-1, keepdim=True)
    tau = (torch.arange(quantiles, device=prediction.device, dtype=prediction.dtype) + 0.5) / quantiles
    u = target[..., None] - (mean.detach() + prediction - mean)
    size = u.abs()
    h = torch.where(size <= kappa, 0.5 * u.square(), kappa * (size - 0.5 * kappa))
    shape = (4 * (tau - (u < 0).to(tau)).abs() * h / kappa).mean(-1)
    return (mean.squeeze(-1) - target).square() + shape


def clipped(
    prediction: Float[Tensor, "*B"],
    target: Float[Tensor, "*B"],
    old: Float[Tensor, "*B"],
    *,
    eps: Annotated[float, Gt(0)],
) -> Float[Tensor, "*B"]:
    """The larger of the squared errors of the prediction and of the prediction kept within ``eps`` of the old one."""
    kept = old + (prediction - old).clamp(-eps, eps)
    return torch.maximum((prediction - target).square(), (kept - target).square())
