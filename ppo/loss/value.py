"""The critic's loss, per sample. Each option is one function ``(prediction, target, old) -> [*B]``.

``old`` is the prediction before the update. Units: squared (scaled) reward.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def mse(prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(prediction - target)^2."""
    return (prediction - target).square()


def huber(
    prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"], *, delta: float = 1.0
) -> Float[Tensor, "*B"]:
    """e^2 for |e| <= delta and delta (2 |e| - delta) beyond, e = prediction - target: ``mse`` with a gradient of at
    most 2 delta. (Twice the usual Huber loss, so that ``coef.value`` means the same for both.)"""
    e = (prediction - target).abs()
    return torch.where(e <= delta, e.square(), delta * (2 * e - delta))


def clipped(
    prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"], *, eps: float = 0.2
) -> Float[Tensor, "*B"]:
    """The larger of the squared errors of the prediction and of the prediction kept within ``eps`` of the old one."""
    kept = old + (prediction - old).clamp(-eps, eps)
    return torch.maximum((prediction - target).square(), (kept - target).square())
