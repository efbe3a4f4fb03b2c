"""Random numbers that are a function of a key and a counter, made of integer operations on any device.

A world's numbers do not depend on how many worlds there are, or on what was drawn before: the key is its seed, the counter
the number of its episode, and nothing but these two has to be saved. SplitMix64, Steele, Lea & Flood 2014.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as a signed number: int64 products wrap, as those of unsigned numbers do
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_BITS = 24  # of a float32 below 1


def uniform(
    key: Int[Tensor, " N"], counter: Int[Tensor, " N"], draws: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "N D"]:
    """``draws`` numbers in [0, 1) for every key, each a multiple of 2^-24."""
    stream = _mix(_mix(key) + counter * _GOLDEN)
    each = torch.arange(1, draws + 1, device=key.device) * _GOLDEN
    return (_mix(stream[:, None] + each) >> (64 - _BITS) & (2**_BITS - 1)).to(dtype) * 2.0**-_BITS


def _mix(z: Int[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """SplitMix64's finaliser: every bit of the result depends on every bit of ``z``."""
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Int[Tensor, "*B"], by: int) -> Int[Tensor, "*B"]:
    """To the right, zeros from the left."""
    return z >> by & (2 ** (64 - by) - 1)
