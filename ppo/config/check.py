"""What one key says must fit what the others say: the mistakes that no type and no range shows."""

import math
from collections.abc import Collection
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ppo.config.options import ConfigError, strategy
from ppo.config.ranges import wrong
from ppo.config.schema import GROUPS, ranges

_NEED_TARGET_KL = {
    "stop": ("minibatch", "epoch", "rollback"),
    "lr": ("adaptive_kl", "adaptive_kl_step"),
    "clip": ("adaptive",),
    "penalty": ("adaptive",),
    "objective": ("trpo",),
}
_ADAPTIVE = (
    ("lr", "adaptive_kl", "value"),
    ("lr", "adaptive_kl_step", "value"),
    ("clip", "adaptive", "eps"),
    ("penalty", "adaptive", "beta"),
)


def bind(cfg: DictConfig, required: Collection[str] = GROUPS) -> dict[str, partial]:
    """The chosen option of every group, its own options bound, after every key was looked at.

    ``required``: groups that must have an option; of the others, those without one are left out. Raises ConfigError on
    the first mistake.
    """
    for key, annotation in ranges():
        value = OmegaConf.select(cfg, key)
        if said := wrong(value, annotation):
            raise ConfigError(f"{key}={value}: {said}")
    given = [group for group in GROUPS if cfg[group] is not None or group in required]
    chosen = {group: strategy(group, cfg[group], cfg.trust) for group in given}
    _sizes(cfg)
    _pieces(cfg, chosen)
    _together(cfg, chosen)
    return chosen


def need_continuous(cfg: DictConfig, chosen: dict[str, partial]) -> None:
    """What only a policy with a mean can have; for worlds whose actions are discrete. Raises ConfigError."""
    for group, name, what in (("project", "trpl", "project"), ("objective", "vmpo", "bound apart from the deviations")):
        _require(
            getattr(chosen[group].func, "__name__", "") != name, group, name, f"discrete actions have no mean to {what}"
        )
    _require(cfg.rpo == 0, "rpo", cfg.rpo, "discrete actions have no mean to move")


def _require(holds: bool, key: str, value: Any, wrong: str) -> None:
    if not holds:
        raise ConfigError(f"{key}={'null' if value is None else value}: {wrong}")


def _sizes(cfg: DictConfig) -> None:
    """A rollout is made of whole minibatches, these of whole parts; this process steps environments too."""
    batch, minibatch = cfg.num_envs * cfg.num_steps, cfg.minibatch_size
    divides = f"must divide num_envs * num_steps = {cfg.num_envs} * {cfg.num_steps} = {batch}"
    _require(batch % minibatch == 0, "minibatch_size", minibatch, divides)
    parts = cfg.micro_batches
    _require(minibatch % parts == 0, "micro_batches", parts, f"must divide minibatch_size={minibatch}")
    below = f"must be below num_envs={cfg.num_envs}, as this process steps a share too"
    _require(cfg.workers in ("auto", 0) or cfg.workers < cfg.num_envs, "workers", cfg.workers, below)


def _pieces(cfg: DictConfig, chosen: dict[str, partial]) -> None:
    """What a network with memory learns from: pieces of ``chunk`` steps, which stay whole."""
    chunk = chosen["network"].keywords.get("chunk") if "network" in chosen else None
    if chunk is None:
        return
    divides = f"must divide num_steps={cfg.num_steps}, as a rollout is learned from in pieces of so many steps"
    _require(cfg.num_steps % chunk == 0, "network.chunk", chunk, divides)
    multiple = f"must be a multiple of network.chunk={chunk}, the steps that are learned from together"
    _require(cfg.minibatch_size % chunk == 0, "minibatch_size", cfg.minibatch_size, multiple)
    parts, most = cfg.micro_batches, cfg.minibatch_size // chunk
    whole = f"must divide minibatch_size / network.chunk = {cfg.minibatch_size} / {chunk} = {most}"
    _require(most % parts == 0, "micro_batches", parts, whole)
    demo = getattr(chosen["demo"].func, "__name__", "") if "demo" in chosen else "none"
    alone = "demonstrated pairs have no history for a network with memory to have seen; network=mlp, or demo=none"
    _require(demo == "none", "demo", demo, alone)


def _together(cfg: DictConfig, chosen: dict[str, partial]) -> None:
    """What options of different groups, or several numbers of one option, say of each other."""
    names = {group: getattr(option.func, "__name__", "") for group, option in chosen.items()}
    said = {group: option.keywords for group, option in chosen.items()}

    def named(group: str, *options: str | None) -> bool:
        return names.get(group) in options

    def require(holds: bool, key: str, wrong: str) -> None:
        _require(holds, key, names.get(key, OmegaConf.select(cfg, key)), wrong)

    if named("objective", "trpo"):
        require(named("demo", "none", None), "demo", "objective=trpo takes no demonstrations")
        beyond = "objective=trpo goes as far as its KL allows, and an outer step would go on; outer=none"
        require(not named("outer", "step"), "outer", beyond)
        still = "objective=trpo moves the policy after the minibatches, of whose KL the rate would know nothing; lr=constant"
        require(not named("lr", "adaptive_kl", "adaptive_kl_step"), "lr", still)
    if named("objective", "spo", "aspo", "soft"):
        need = f"objective={names['objective']} takes its eps from the clip range; choose one"
        require(not named("clip", "none"), "clip", need)
    if named("objective", "vmpo"):
        apart = "objective=vmpo compares the samples of a minibatch, so they stay together"
        require(cfg.micro_batches == 1, "micro_batches", apart)
        undone = (
            "an epoch that is undone takes the rises of the multipliers with it, and none of their falls; stop=none"
        )
        require(not named("stop", "rollback"), "stop", undone)
    if named("project", "trpl"):
        require(not named("objective", "trpo"), "project", "objective=trpo holds the policy itself; objective=ppo")
    if said.get("network", {}).get("squash"):
        require(named("action", "tanh"), "network.squash", "the entropy is that of tanh, so it needs action=tanh")
    for group, options in _NEED_TARGET_KL.items():
        if named(group, *options) and said[group].get("fraction") is None:
            instead = "; or stop=none" if group == "stop" else ""
            needs = f"{group}={names[group]} needs one, for example target_kl=0.01{instead}"
            require(cfg.target_kl is not None, "target_kl", needs)
    if cfg.match_kl is not None:
        _one_hand(cfg, chosen, names)
    if named("lr", "adaptive_kl_step") and named("stop", "minibatch"):
        factor, tolerance = said["stop"]["factor"], said["lr"]["tolerance"]
        least = f"stop=minibatch takes no step beyond {factor:g} x target_kl, so the rate could only rise; stop=none"
        _require(tolerance < factor, "lr.tolerance", tolerance, least)
    if named("lr", "adaptive_kl_step"):
        undone = "an epoch that is undone takes the rate's falls with it; stop=none"
        require(not named("stop", "rollback"), "stop", undone)
    if named("norm", "ema"):
        low, high = said["norm"]["low"], said["norm"]["high"]
        _require(low < high, "norm.low", low, f"must be below norm.high={high}: the scale is the distance between them")
    for group, option, start in _ADAPTIVE:
        if named(group, option):
            own = said[group]
            low, high, first = own["min"], own["max"], own[start]
            _require(low <= high, f"{group}.min", low, f"must not exceed {group}.max={high}")
            inside = f"must lie in [{group}.min, {group}.max] = [{low}, {high}]"
            _require(low <= first <= high, f"{group}.{start}", first, inside)


_WELL_ABOVE = 3.0  # times match_kl: where a stop ends an update that went wrong, and none that went as it should


def _one_hand(cfg: DictConfig, chosen: dict[str, partial], names: dict[str, str]) -> None:
    """With match_kl nothing else may hold updates at a distance of its own: it would be a second hand on one wheel."""
    if names.get("lr") in _NEED_TARGET_KL["lr"]:
        _require(False, "match_kl", cfg.match_kl, f"lr={names['lr']} would move the KL as well; lr=constant")
    if names.get("clip") == "adaptive" and chosen["clip"].keywords["fraction"] is not None:
        _require(False, "match_kl", cfg.match_kl, "clip.fraction would move the KL as well; clip=fixed")
    limits = chosen["stop"](cfg.target_kl)
    ends = limits.kl
    if limits.step < math.inf and ends == math.inf:
        _require(False, "match_kl", cfg.match_kl, f"stop={limits.name} would hold the KL as well; stop=none")
    least = _WELL_ABOVE * cfg.match_kl
    said = f"stop={limits.name} ends updates at a KL of {ends:g} and would hold it as well; stop=none"
    _require(ends >= least, "match_kl", cfg.match_kl, f"{said}, or a limit of at least {least:g}")
