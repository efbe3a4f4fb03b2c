"""The scalars of a run, with their types and ranges, for Hydra to refuse what does not fit.

Values, and what each is for, stand in ``conf/config.yaml``. So do the groups: those of its defaults list. What an option
of a group allows is said by its function.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Gt, Interval, Le, Lt
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from ppo.config.ranges import bare

CONF = Path(__file__).parents[2] / "conf"
SEEDS = 2**63  # so many there are: gymnasium keeps them in 64 bits
Seed = Annotated[int, Ge(0), Lt(SEEDS)]


@dataclass(kw_only=True)
class Coef:
    """Weights of the loss terms beside the policy objective."""

    value: Annotated[float, Ge(0)]
    entropy: Annotated[float, Ge(0)]


@dataclass(kw_only=True)
class Adam:
    """The optimiser's decays and its epsilon."""

    beta1: Annotated[float, Interval(ge=0, lt=1)]
    beta2: Annotated[float, Interval(ge=0, lt=1)]
    eps: Annotated[float, Gt(0)]


@dataclass(kw_only=True)
class Normalise:
    """Running normalisation of observations and rewards, how it starts, and where the results are clipped."""

    obs: bool
    reward: bool
    warmup: bool
    clip_obs: Annotated[float, Gt(0)]
    clip_reward: Annotated[float, Gt(0)]


@dataclass(kw_only=True)
class Guard:
    """Bounds on the log-ratio; see ppo.update.total.Guards."""

    clamp: Annotated[float, Gt(0), Le(80)]  # exp of more overflows float32
    warn: Annotated[float, Gt(0)]
    extreme_high: Annotated[float, Gt(0)]
    extreme_low: Annotated[float, Gt(0)]
    first_log_ratio: Annotated[float, Gt(0)]


@dataclass(kw_only=True)
class Eval:
    """Evaluation in environments of its own, statistics frozen."""

    every: Annotated[int, Ge(0)]
    episodes: Annotated[int, Ge(0)]
    seed: Seed
    stochastic: bool  # sampled actions, as in training, instead of the most likely ones
    max_steps: Annotated[int, Ge(1)]  # an episode that is longer has no end: this evaluation is given up
    video: bool  # of the first episode, into the run folder and onto the dashboard


@dataclass(kw_only=True)
class Checkpoint:
    """Numbered checkpoints, beside the latest and the best."""

    every: Annotated[int, Ge(0)]


@dataclass(kw_only=True)
class Doctor:
    """The KL doctor while the run trains; ``thresholds``: {check: {name: number}}, see ppo.doctor.diagnose."""

    live: bool
    thresholds: dict[str, Any]


@dataclass(kw_only=True)
class Observe:
    """Columns of the observation: numbers, ranges "0:13", names. See ppo.network.columns."""

    actor: list[Any] | None
    critic: list[Any] | None


@dataclass(kw_only=True)
class Scalars:
    """Every key of a run that belongs to no group."""

    total_steps: Annotated[int, Ge(1)]
    num_envs: Annotated[int, Ge(1)]
    num_steps: Annotated[int, Ge(1)]
    workers: Annotated[int, Ge(0)] | Literal["auto"]
    epochs: Annotated[int, Ge(1)]
    minibatch_size: Annotated[int, Ge(1)]
    micro_batches: Annotated[int, Ge(1)]
    gamma: Annotated[float, Interval(ge=0, le=1)]
    gae_lambda: Annotated[float, Interval(ge=0, le=1)]
    rpo: Annotated[float, Ge(0)]
    recompute_advantage: bool
    target_kl: Annotated[float, Gt(0)] | None
    match_kl: Annotated[float, Gt(0)] | None
    max_grad_norm: Annotated[float, Gt(0)] | None
    init: str | None
    seed: Seed
    device: str
    threads: Annotated[int, Ge(1)] | Literal["auto"]
    compile: bool | Literal["auto"]
    trust: list[str]
    resume: str | None
    on_nonfinite: Literal["stop", "skip", "rollback"]
    env_timeout: Annotated[float, Gt(0)] | None
    rank_timeout: Annotated[float, Gt(0)]
    exact_resume: bool
    coef: Coef
    adam: Adam
    normalise: Normalise
    observe: Observe
    guard: Guard
    eval: Eval
    checkpoint: Checkpoint
    doctor: Doctor
    plots: bool


def ranges(kind: Any = Scalars, below: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar by its dotted name, with its annotation."""
    for entry in fields(kind):
        if is_dataclass(entry.type):
            yield from ranges(entry.type, f"{below}{entry.name}.")
        else:
            yield below + entry.name, entry.type


@cache
def _base() -> DictConfig:
    return cast(DictConfig, OmegaConf.load(CONF / "config.yaml"))


def _groups() -> tuple[str, ...]:
    chosen = (key for entry in _base().defaults if OmegaConf.is_dict(entry) for key in entry)
    return tuple(str(key) for key in chosen if not str(key).startswith("override "))


GROUPS = _groups()


def scalars() -> dict[str, Any]:
    """The values of ``conf/config.yaml``, as plain containers."""
    own = {entry.name for entry in fields(Scalars)}
    base = cast(dict[str, Any], OmegaConf.to_container(_base(), resolve=False))
    return {key: value for key, value in base.items() if key in own}


def _without_ranges(kind: Any) -> list[tuple]:
    """The fields of a dataclass as OmegaConf takes them: no constraints, and no values but those of ``conf/``."""
    found = []
    for entry in fields(kind):
        if is_dataclass(entry.type):
            inner = make_dataclass(cast(type, entry.type).__name__, _without_ranges(entry.type))
            found.append((entry.name, inner, field(default_factory=inner)))
        else:
            found.append((entry.name, bare(entry.type), MISSING))
    return found


# What Hydra checks types by. A group is untyped here, and typed by the function that is chosen.
Config: Any = make_dataclass("Config", [*_without_ranges(Scalars), *((group, Any, None) for group in GROUPS)])


OPEN = ("doctor.thresholds", "env.kwargs")  # dictionaries that take new keys from the command line without a ``+``


def is_open(key: str) -> bool:
    """Whether ``key`` lies in one of the dictionaries that take any key."""
    return key.startswith(tuple(f"{name}." for name in OPEN))


def _open(node: DictConfig, key: str) -> DictConfig:
    """``node`` with an empty dictionary at ``key``, for Hydra to leave open."""
    OmegaConf.update(node, key, {}, force_add=True)
    OmegaConf.select(node, key)._set_flag("struct", False)
    return node


_store = ConfigStore.instance().store
_store(name="schema", node=_open(OmegaConf.structured(Config), "doctor.thresholds"))
_store(name="open_kwargs", group="_shared", node=_open(OmegaConf.create({}), "kwargs"))
