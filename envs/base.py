"""The vector-environment protocol: what a trainer may ask of the world.

Time-step semantics are *same-step reset*: when an episode ends, ``obs`` already belongs to the next episode and
``next_obs`` still holds the true last observation. Every row is a real environment step.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete

if TYPE_CHECKING:  # the command line imports this module, and torch only when it must
    import torch

ActionSpace = Box | Discrete | MultiDiscrete
Envs = int | range  # how many sub-environments; or which ones, of a vector that several processes share


class EnvError(RuntimeError):
    """The world broke its promise (non-finite value, dead worker, unusable space). The message says which environment.

    ``traceback``: of what the environment's own code raised, where that is the reason; see ``envs.fault``.
    """

    traceback: str = ""


class NotFinite(EnvError):
    """The world gave, or was given, a number that is not finite."""


class WorkerLost(EnvError):
    """A worker process died, or did not answer within the time limit. Nothing says that the world itself is at fault:
    made anew, it may well go on."""


class NoState(EnvError):
    """This world cannot give the state from which it could be continued."""


class Step(NamedTuple):
    """One vector step of ``N`` sub-environments. Arrays belong to the environment and are valid until its next call.

    Of a world on a device: tensors of that device, which are the caller's to keep; the world never writes into them again.
    """

    obs: np.ndarray  # [N, O] float32, or float64 as the space says: what to act on next; after an episode end, the
    # first of the new episode
    reward: np.ndarray  # [N] float64 (on a device float32), as the task defines it
    next_obs: np.ndarray  # [N, O], likewise: the true successor, before any reset
    terminated: np.ndarray  # [N] bool: the task ended, nothing follows
    truncated: np.ndarray  # [N] bool: the clock ended it, the state has a future
    group: np.ndarray  # [N] int64: group id of the transition (robot, terrain ...; by default the sub-environment)
    episode_return: np.ndarray  # [N] float64: undiscounted return of the episode that ended here, NaN elsewhere
    episode_length: np.ndarray  # [N] int64: its length in steps, 0 elsewhere


class VectorEnv(Protocol):
    """``N`` sub-environments stepped together; continuous observations, continuous or discrete actions."""

    name: str  # for people: "AntBullet", "Pendulum-v1"
    num_envs: int
    observation_space: Box  # of one sub-environment, one axis
    action_space: ActionSpace  # of one sub-environment; a box has one axis, and so has MultiDiscrete
    row: Callable[[Any], np.ndarray]  # one observation as the environment gives it -> its row [O]
    given: Callable[[np.ndarray], Any]  # one action [A] -> as the environment receives it, in the shape of its space
    columns: dict[str, range]  # names of parts of the observation, where it has any: {"imu/gyro": range(0, 3), ...}
    roles: dict[str, list[str]]  # names of the parts that "actor" and "critic" see by default; not in it: all of them
    fps: float | None  # pictures a second of an episode in real time, one a step; None where it does not say
    time_limit: float  # s that a worker process may take to answer; infinite: as long as it lives
    # Where it lives. None: on the host, its arrays are numpy's. A device: wherever this protocol says array, a tensor of
    # that device, and no call of step() waits for it. See envs.device.
    device: "torch.device | None"
    # Of a world on a device: a sub-environment that gives a number that is not finite ends its episode there, begins
    # another where it can, and its sample is to be masked. False: such a number ends the run.
    masks: bool

    def reset(self, seed: int, *, first: int = 0) -> np.ndarray:
        """Start every sub-environment anew, each with its own seed derived from ``seed``; return ``obs [N, O]``.

        ``first``: with the seeds of sub-environments ``first`` places further on, as those of a larger vector have.
        """
        ...

    def step(self, action: np.ndarray) -> Step:
        """Apply ``action [N, A]`` (Discrete: ``[N]``), inside the action space. NotFinite on a non-finite answer, which a
        world on a device leaves to whoever reads."""
        ...

    def state(self) -> Any:
        """What is needed to continue bit for bit in a fresh process: one JSON-like dict a sub-environment; of a world on a
        device one dict of tensors ``{name: [N, ...]}``.

        Raises NoState where the world cannot tell.
        """
        ...

    def set_state(self, state: Any) -> np.ndarray:
        """Continue from ``state()``, whose tensors may be on the host; return the observations to act on next ``[N, O]``."""
        ...

    def compile(self, compiled: Callable[[Callable, Callable], Callable]) -> None:
        """Where the step is a pure function of tensors without a branch: have ``compiled(function, back)`` make its program;
        ``back`` makes the function's result of the tensors of that."""
        ...

    def log(self) -> dict[str, float]:
        """What the world says of itself, {name: number}: means over the steps since the last call."""
        ...

    def render(self, index: int = 0) -> np.ndarray:
        """The picture [H, W, 3] of sub-environment ``index``, where it was made with ``render_mode="rgb_array"``."""
        ...

    def close(self) -> None:
        """Give everything back. A second call does nothing."""
        ...


def _as_it_is(action: np.ndarray) -> Any:
    return action


class Plain:
    """Of the protocol, what most worlds do without."""

    roles: dict[str, list[str]] = {}  # noqa: RUF012 - a constant
    masks = False
    given: Callable[[np.ndarray], Any] = staticmethod(_as_it_is)

    def compile(self, compiled: Callable[[Callable, Callable], Callable]) -> None:
        """Its step is none that a compiler could take."""

    def log(self) -> dict[str, float]:
        """Nothing to say of itself."""
        return {}


def indices(envs: Envs) -> range:
    """Which sub-environments these are."""
    return range(envs) if isinstance(envs, int) else envs


def seeds(seed: int, envs: Envs) -> list[int]:
    """One independent seed a sub-environment: neighbouring run seeds share none (``seed + i`` would).

    That of a sub-environment does not depend on how many there are, or which others are here.
    """
    own = indices(envs)
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(own.stop)[own.start :]]


@cache
def say_once(text: str) -> None:
    """A line on stderr, the first time that this process says it: what is worth knowing and no error."""
    print(text, file=sys.stderr, flush=True)
