"""The configuration: typed scalars, options bound to functions, and the checks that stop a mistake before a run exists.

A group's option is a function; its yaml names it (``_target_``) and its keyword-only arguments are its options. So the
function's signature is the schema: ``strategy`` binds the two and refuses what does not fit.
"""

import difflib
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, make_dataclass
from dataclasses import field as dataclass_field
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

GROUPS = (
    "env",
    "action",
    "network",
    "kl",
    "stop",
    "objective",
    "clip",
    "penalty",
    "norm",
    "lr",
    "value",
    "reference",
    "demo",
    "logger",
)
CONF = Path(__file__).parents[1] / "conf"

MOVED = {"coef.kl": "penalty=fixed penalty.beta=NUMBER"}  # keys of earlier versions, and how to say it now
_NEED_TARGET_KL = (
    *(("stop", "minibatch"), ("stop", "epoch"), ("stop", "rollback")),
    *(("lr", "adaptive_kl"), ("clip", "adaptive"), ("penalty", "adaptive"), ("objective", "trpo")),
)


class ConfigError(ValueError):
    """A mistake in the configuration. One line: which key, what is wrong, what would be right."""


@dataclass
class Coef:
    """Weights of the loss terms beside the policy objective. A term of weight 0 is not computed."""

    value: float = 0.5
    entropy: float = 0.0


@dataclass
class Adam:
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-5


@dataclass
class Normalise:
    """Running normalisation of observations and rewards, and where the results are clipped."""

    obs: bool = True
    reward: bool = True
    clip_obs: float = 10.0
    clip_reward: float = 10.0


@dataclass
class Guard:
    """Bounds on the log-ratio; see ppo.update.gradient_step.Guards. ``first_log_ratio``: largest |log ratio| accepted
    at the first minibatch, where old and new policy are the same and only rounding is left."""

    clamp: float = 10.0
    warn: float = 5.0
    extreme_high: float = 100.0
    extreme_low: float = 0.01
    first_log_ratio: float = 1e-3


@dataclass
class Eval:
    """Deterministic evaluation in environments of its own, statistics frozen."""

    every: int = 50_000  # environment steps; 0: only at the end
    episodes: int = 10  # of each evaluation; 0: no evaluation at all
    seed: int = 1_000_000  # the same start states for every run, so that arms are compared on the same ground


@dataclass
class Checkpoint:
    every: int = 0  # environment steps between numbered checkpoints; 0: only latest and best


@dataclass
class Doctor:
    """The KL doctor while the run trains; ``thresholds``: {check: {name: number}}, see ppo.doctor.diagnose."""

    live: bool = True
    thresholds: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    """Typed scalars of a run; groups are untyped here and typed by their functions."""

    total_steps: int = 500_000  # environment steps
    num_envs: int = 16
    num_steps: int = 512  # vector steps in a rollout
    workers: int | str = "auto"  # processes that step environments beside this one; auto: measured
    epochs: int = 20
    minibatch_size: int = 128
    micro_batches: int = 1  # parts of a minibatch whose gradients are accumulated, to save memory
    gamma: float = 0.99
    gae_lambda: float = 0.9
    rpo: float = 0.0  # half-width of uniform noise on the policy's mean in the objective; 0: none
    recompute_advantage: bool = False  # at the start of every epoch, by the critic as it then is
    target_kl: float | None = None
    max_grad_norm: float | None = 0.5
    init: str | None = None  # a run folder or checkpoint whose policy, critic and observation statistics to start from
    seed: int = 1
    device: str = "cpu"
    threads: int | str = 1  # torch's; more than one slows small networks down; auto: measured
    compile: str = "auto"
    trust: list[str] = field(default_factory=list)  # packages, beside ours, whose functions a yaml may name
    resume: str | None = None  # the folder of a run to go on with, under its own configuration
    on_nonfinite: str = "stop"  # what a number that is not finite does: stop the run, skip or roll back the update
    rank_timeout: float = 600.0  # s that a rank waits for another (torchrun) before it gives up
    exact_resume: bool = True  # refuse to go on where the environments do not come back exactly
    coef: Coef = field(default_factory=Coef)
    adam: Adam = field(default_factory=Adam)
    normalise: Normalise = field(default_factory=Normalise)
    guard: Guard = field(default_factory=Guard)
    eval: Eval = field(default_factory=Eval)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    doctor: Doctor = field(default_factory=Doctor)
    plots: bool = False  # a window that follows the run, and run.png in its folder
    env: Any = None
    action: Any = None
    network: Any = None
    kl: Any = None
    stop: Any = None
    objective: Any = None
    clip: Any = None
    penalty: Any = None
    norm: Any = None
    lr: Any = None
    value: Any = None
    reference: Any = None
    demo: Any = None
    logger: Any = None


ConfigStore.instance().store(name="schema", node=Config)


def short(name: str, *, most: int = 200) -> str:
    """``name`` as that of one folder: a slash in it (``env.id=../../x``) would lead out of the sweep's, and no file
    system takes more than 255 bytes. What had to be changed ends with a digest of all of it.
    """
    flat = name.replace("/", "_")
    if flat == name and len(name.encode()) <= most:
        return name
    return f"{flat.encode()[: most - 9].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("short", short, replace=True)


def strategy(group: str, node: DictConfig, trust: Iterable[str] = ()) -> partial:
    """The function that ``node`` names, its options bound. Raises ConfigError, naming group and key.

    Only what a yaml of the group names can be called, and anything in a package of ``trust``.
    """
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise ConfigError(f"{group}: no option chosen; give one as {group}=NAME")
    options = plain(node)
    target = str(options.pop("_target_"))
    if target not in _targets(group) and target.split(".")[0] not in trust:
        raise ConfigError(
            f"{group}._target_: {target!r} is no option of {group}; to call into a package of your own: trust=[PACKAGE]"
        )
    try:
        function = get_method(target)
    except Exception as error:
        raise ConfigError(f"{group}._target_: there is no {target!r}") from error
    known = {n: p for n, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    name = target.rsplit(".", 1)[-1]
    for key in options:
        if key not in known:
            raise ConfigError(f"{group}.{key}: {group}={name} has no such option{suggest(key, known)}")
    schema = make_dataclass(name, [_schema_field(p) for p in known.values()])
    try:
        bound = plain(cast(DictConfig, OmegaConf.merge(OmegaConf.structured(schema), options)))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{group}.{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    return partial(function, **bound)


@cache
def _targets(group: str) -> frozenset[str]:
    """What the yamls of ``group`` call."""
    return frozenset(str(cast(DictConfig, OmegaConf.load(path))._target_) for path in (CONF / group).glob("*.yaml"))


def fit(cfg: DictConfig, typed: Iterable[str]) -> DictConfig:
    """``cfg`` without what a recipe says to an option that was then not chosen: its ``clip.eps``, after ``clip=none``.

    ``typed``: the words of the command line. A key that these name stays, so that it is refused.
    """
    named = {word.lstrip("+").partition("=")[0] for word in typed}
    cfg = cfg.copy()
    for group in GROUPS:
        yaml = CONF / group / f"{str(cfg[group] and cfg[group].get('_target_')).rpartition('.')[2]}.yaml"
        surplus = set(cfg[group]) - set(OmegaConf.load(yaml)) if yaml.exists() else set()
        elsewhere = {key for path in yaml.parent.glob("*.yaml") for key in OmegaConf.load(path)} if surplus else set()
        for key in surplus & elsewhere:
            if f"{group}.{key}" not in named:
                with open_dict(cfg[group]):
                    del cfg[group][key]
    return cfg


def _schema_field(p: inspect.Parameter):
    if p.default is p.empty:
        return p.name, p.annotation, dataclass_field(default="???")
    if isinstance(p.default, list | dict):
        return p.name, p.annotation, dataclass_field(default_factory=lambda: p.default.copy())
    return p.name, p.annotation, dataclass_field(default=p.default)


def suggest(key: str, known: Iterable[str]) -> str:
    """What the writer of ``key`` may have meant, as the end of an error message."""
    known = list(known)
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there is {', '.join(known)}" if known else "; there is none"


def check(cfg: DictConfig) -> None:
    """Cross-field checks. Raises ConfigError."""

    def require(holds: bool, key: str, wrong: str) -> None:
        if not holds:
            raise ConfigError(f"{key}={OmegaConf.select(cfg, key)}: {wrong}")

    def named(group: str, name: str) -> bool:
        return bool(cfg[group]) and str(cfg[group]._target_).endswith(f".{name}")

    for key in ("total_steps", "num_envs", "num_steps", "epochs", "minibatch_size", "micro_batches"):
        require(cfg[key] >= 1, key, "must be at least 1")
    for key, least in (("workers", 0), ("threads", 1)):
        number = cfg[key]
        require(number == "auto" or isinstance(number, int), key, "must be a number or auto")
        require(number == "auto" or number >= least, key, f"must be at least {least}")
    for key in (
        "seed",
        "eval.every",
        "eval.episodes",
        "eval.seed",
        "checkpoint.every",
        "coef.value",
        "rpo",
        "coef.entropy",
        "penalty.beta",
    ):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or value >= 0, key, "must not be negative")
    for key in ("gamma", "gae_lambda", "norm.decay", "norm.low", "norm.high"):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or 0 <= value <= 1, key, "must lie in [0, 1]")
    for key in ("adam.beta1", "adam.beta2"):
        require(0 <= OmegaConf.select(cfg, key) < 1, key, "must lie in [0, 1)")
    for key in (
        *("rank_timeout", "target_kl", "max_grad_norm", "adam.eps", "normalise.clip_obs", "normalise.clip_reward"),
        *("guard.clamp", "guard.warn", "guard.extreme_high", "guard.extreme_low", "guard.first_log_ratio"),
        *("lr.value", "lr.min", "lr.max", "stop.factor", "penalty.min", "penalty.max"),
        *(
            "clip.eps",
            "clip.below",
            "clip.above",
            "clip.min",
            "clip.max",
            "clip.fraction",
            "value.eps",
            "value.delta",
            "value.kappa",
        ),
        *("stop.limit", "norm.floor", "objective.alpha", "objective.damping", "objective.shrink"),
    ):
        value = OmegaConf.select(cfg, key)
        require(not isinstance(value, int | float) or 0 < value < float("inf"), key, "must be a positive number")
    require(cfg.compile.lower() in ("auto", "true", "false"), "compile", "must be auto, true or false")
    policies = ("stop", "skip", "rollback")
    require(cfg.on_nonfinite in policies, "on_nonfinite", f"must be one of {', '.join(policies)}")
    require(cfg.guard.clamp <= 80, "guard.clamp", "exp of more than 80 overflows float32")
    batch = cfg.num_envs * cfg.num_steps
    require(
        batch % cfg.minibatch_size == 0,
        "minibatch_size",
        f"must divide num_envs * num_steps = {cfg.num_envs} * {cfg.num_steps} = {batch}",
    )
    require(
        cfg.minibatch_size % cfg.micro_batches == 0, "micro_batches", f"must divide minibatch_size={cfg.minibatch_size}"
    )
    require(
        cfg.workers in ("auto", 0) or cfg.workers < cfg.num_envs,
        "workers",
        f"must be below num_envs={cfg.num_envs}, as this process steps a share too",
    )
    require(not cfg.value or cfg.value.get("quantiles", 1) >= 1, "value.quantiles", "must be at least 1")
    dual = cfg.objective.get("dual") if cfg.objective else None
    require(not isinstance(dual, int | float) or dual > 1, "objective.dual", "must be above 1, usually 3")
    if named("objective", "trpo"):
        for key in ("cg_steps", "backtracks"):
            require(cfg.objective[key] >= 1, f"objective.{key}", "must be at least 1")
        require(cfg.objective.shrink < 1, "objective.shrink", "must be below 1")
        require(named("demo", "none"), "demo", "objective=trpo takes no demonstrations")
    if named("objective", "spo"):
        require(not named("clip", "none"), "clip", "objective=spo takes its eps from the clip range; choose one")
    require(cfg.rpo == 0 or not named("network", "categorical"), "rpo", "discrete actions have no mean to move")
    if cfg.network and cfg.network.get("squash"):
        require(named("action", "tanh"), "network.squash", "the entropy is that of tanh, so it needs action=tanh")
    for group, name in _NEED_TARGET_KL:
        if named(group, name) and cfg[group].get("fraction") is None:
            require(cfg.target_kl is not None, "target_kl", f"{group}={name} needs one, for example target_kl=0.01")
    for group, start in (("lr", "value"), ("clip", "eps"), ("penalty", "beta")):
        if cfg[group] and str(cfg[group]._target_).rpartition(".")[2].startswith("adaptive"):
            low, high = cfg[group].min, cfg[group].max
            require(low <= high, f"{group}.min", f"must not exceed {group}.max={high}")
            require(low <= cfg[group][start] <= high, f"{group}.{start}", f"must lie in [{group}.min, {group}.max]")
            for key in ("factor", "tolerance"):
                require(cfg[group][key] >= 1, f"{group}.{key}", "must be at least 1")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
