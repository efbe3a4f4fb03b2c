"""The policy objective, to be maximised. Each option is one function ``(log_ratio, advantage, low, high) -> [*B]``."""

import torch
from jaxtyping import Float
from torch import Tensor


def ppo(
    log_ratio: Float[Tensor, "*B"], advantage: Float[Tensor, "*B"], low: Float[Tensor, ""], high: Float[Tensor, ""]
) -> Float[Tensor, "*B"]:
    """min(r A, clip(r, low, high) A) with r = exp(log_ratio). Schulman et al. 2017, equation 7."""
    ratio = torch.exp(log_ratio)
    return torch.minimum(ratio * advantage, torch.clamp(ratio, low, high) * advantage)
