"""Random generators: their states as plain data, and which of the process's own an environment draws from."""

import random
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from envs.base import say_once


def state_of(env: gymnasium.Env) -> dict | str:
    """The state of ``env.np_random``, a copy; or why there is none that could be saved."""
    try:
        rng = env.unwrapped.np_random
    except Exception as error:
        return f"its np_random cannot be read ({type(error).__name__}: {error})"
    if isinstance(rng, np.random.RandomState):
        return dict(rng.get_state(legacy=False))
    if isinstance(rng, np.random.Generator):
        return dict(rng.bit_generator.state)
    return f"its np_random is a {type(rng).__module__}.{type(rng).__name__}, not a generator of numpy's"


def restore(env: gymnasium.Env, state: dict) -> None:
    """Put ``state`` into ``env.np_random``, which is of the kind that it was taken from. TypeError, ValueError if not."""
    rng = env.unwrapped.np_random
    if isinstance(rng, np.random.RandomState):
        rng.set_state(state)
    else:
        rng.bit_generator.state = state


def encoded(value: Any) -> Any:
    """``value`` with its arrays as what JSON can hold. TypeError where there is something else."""
    if isinstance(value, dict):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"dtype": value.dtype.str, "shape": list(value.shape), "hex": value.tobytes().hex()}
    if isinstance(value, np.generic):
        return encoded(value.item())
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__}")


def decoded(value: Any) -> Any:
    """The inverse of ``encoded``."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"dtype", "shape", "hex"}:
        return np.frombuffer(bytes.fromhex(value["hex"]), value["dtype"]).reshape(value["shape"]).copy()
    return {key: decoded(item) for key, item in value.items()}


class Globals(NamedTuple):
    """The process's own generators at a moment: ``before = Globals.now(); ...; before.used()``."""

    numpy: tuple
    python: tuple
    torch: bytes  # empty where nobody has imported it

    @classmethod
    def now(cls) -> "Globals":
        _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - it is what is asked for
        torch = sys.modules.get("torch")  # which a worker process has only where its environment imports it
        drawn = torch.get_rng_state().numpy().tobytes() if torch else b""
        return cls((keys.tobytes(), position, has_gauss, gauss), random.getstate(), drawn)

    def used(self) -> list[str]:
        """Those that were drawn from, or seeded, since. No seed of a sub-environment governs them, and sub-environments in
        one process share them."""
        now = Globals.now()
        names = {"np.random": now.numpy != self.numpy, "random": now.python != self.python}
        names |= {"torch's global generator": bool(self.torch) and now.torch != self.torch}
        return [name for name, moved in names.items() if moved]


def draws(used: Sequence[str]) -> str:
    """That an environment draws from generators of the whole process."""
    return f"it draws from {' and '.join(used)}, which no seed of a sub-environment governs; draw from self.np_random"


@contextmanager
def said_where_shared(name: str) -> Generator[None, None, None]:
    """Say it once where environment ``name`` meanwhile draws from a generator of the whole process."""
    before = Globals.now()
    yield
    if used := before.used():
        say_once(
            f"{name}: {draws(used)}; such a run can neither be repeated nor resumed exactly (exact_resume=false resumes it with "
            "new episodes)"
        )
