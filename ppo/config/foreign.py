"""Configurations read from a file: those of earlier versions, and those of anybody.

A checkpoint or a run folder may be anybody's, so it may choose among our options and no more: it names no other code,
reads no environment variable, imports nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.check import bind
from ppo.config.options import ConfigError, defaults_of, yamls
from ppo.config.renamed import option_of_today
from ppo.config.schema import GROUPS, Config, scalars

_RENAMED = {  # modules that options lived in before
    "ppo.update.lr": "ppo.control.lr",
    "ppo.update.stop": "ppo.control.stop",
    "ppo.loss.clip": "ppo.control.clip",
    "ppo.loss.penalty": "ppo.control.penalty",
    "ppo.demo": "ppo.loss.demo",
    "ppo.network.gru": "ppo.network.recurrent",
}
_BEFORE = {
    "normalise": {"warmup": False}
}  # what a version did that lacked the key, where conf/ says something else now
_OF_THE_POLICY = ("env", "action", "network", "value")  # the others may be absent: a version that lacked them wrote it


def current(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of an earlier version as this one would have written it.

    Options have today's names, and what was no key then has the value of ``conf/``; a group that did not exist, its
    option ``none``. What is no configuration of ours stays as it is, for whoever reads it to refuse.
    """
    groups = {group: _option(group, config[group]) for group in GROUPS if group in config}
    absent = {group: dict(yamls(group)["none"]) for group in GROUPS if group not in config and "none" in yamls(group)}
    known = isinstance(config.get("normalise"), dict)
    found = _filled(_filled(config | groups, _BEFORE if known else {}), scalars()) | absent
    if str(found["compile"]).lower() in ("true", "false"):  # was a text
        found["compile"] = str(found["compile"]).lower() == "true"
    return found


def _option(group: str, node: Any) -> Any:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        return node
    module, _, name = node["_target_"].rpartition(".")
    target = f"{_RENAMED.get(module, module)}.{name}"
    return (defaults_of(group, target) or {}) | option_of_today(group, node) | {"_target_": target}


def _filled(given: dict, base: Mapping[str, Any]) -> dict:
    """``given`` with what it lacks of ``base``, at every depth."""
    inner = {key: _filled(given[key], value) for key, value in base.items() if _are_dicts(given.get(key), value)}
    return given | {key: value for key, value in base.items() if key not in given} | inner


def _are_dicts(*nodes: Any) -> bool:
    return all(isinstance(node, dict) for node in nodes)


def foreign(config: Any, trust: Sequence[str], where: Path) -> DictConfig:
    """The configuration that was read from ``where``, typed and checked; what is no key of ours is left out.

    ``trust``: packages that the person at the command line lets it name; what the file says of that is not heard.
    Raises ConfigError.
    """
    if not isinstance(config, dict):
        raise ConfigError(f"{where}: holds no configuration")
    known = {field.name for field in fields(Config)} - {"trust"}
    kept = {key: value for key, value in current(config).items() if key in known}
    no_interpolation(kept, where)
    try:
        cfg = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Config), kept, {"trust": list(trust)}))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    bind(cfg, required=_OF_THE_POLICY)
    check_package(cfg, trust, where)
    return cfg


def package_of(cfg: DictConfig) -> str | None:
    """The package that ``env.id`` names before its colon, where it names one: mypackage of mypackage.worlds:Name-v0."""
    module, colon, _ = str(cfg.env.get("id")).rpartition(":")
    return module.split(".")[0] if colon else None


def check_package(cfg: DictConfig, trust: Sequence[str], where: Path) -> None:
    """Raise ConfigError where the environment of a configuration that was read from ``where`` is in a package of its own,
    which gymnasium would import, and that is not trusted."""
    package = package_of(cfg)
    if package is not None and package not in trust:
        name = str(cfg.env.id)
        raise ConfigError(
            f"{where}: env.id={name} is in {name.rpartition(':')[0]}, a package of its own, whose code runs only if you trust "
            f"it: --trust {package} (of a training run, for resume=, init= and reference.run=: trust=[{package}])"
        )


def no_interpolation(config: Any, where: Path) -> None:
    """Raise ConfigError where a configuration that was read from ``where`` has one: a run writes what it resolved, and
    ${oc.env:...} would read, and show, what is secret here."""
    for key, text in _texts(config):
        if "${" in text:
            raise ConfigError(f"{where}: {key}: an interpolation, which no run writes")


def _texts(tree: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text of nested containers, keys among them, with its place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{name} key", str(key)
            yield from _texts(value, f"{name}.{key}" if name else str(key))
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value, name)
    elif isinstance(tree, str):
        yield name, tree
