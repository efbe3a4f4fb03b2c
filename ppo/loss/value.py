"""The critic's loss, per sample. Each option is one function ``(prediction, target, old) -> [*B]``.

``old`` is the prediction before the update. Units: squared (scaled) reward.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def mse(prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """(prediction - target)^2."""
    return (prediction - target).square()


def clipped(
    prediction: Float[Tensor, "*B"], target: Float[Tensor, "*B"], old: Float[Tensor, "*B"], *, eps: float = 0.2
) -> Float[Tensor, "*B"]:
    """The larger of the squared errors of the prediction and of the prediction kept within ``eps`` of the old one."""
    kept = old + (prediction - old).clamp(-eps, eps)
    return torch.maximum((prediction - target).square(), (kept - target).square())
