"""The random numbers that a whole process shares: torch's, also those of its devices, numpy's and Python's own."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept() -> Generator[None, None, None]:
    """Afterwards they go on where they were, whatever was drawn or seeded meanwhile.

    A simulator on a device seeds these and draws from them: two of them in one process would share one stream.
    """
    host, legacy, python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(host)
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(python)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
