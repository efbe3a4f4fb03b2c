"""Configurations read from a file. A checkpoint or a run folder may be anybody's, so it may choose among our options and
no more: it names no other code, reads no environment variable, imports nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.check import check
from ppo.config.options import GROUPS, ConfigError, strategy
from ppo.config.schema import Config

_OF_THE_POLICY = ("env", "action", "network", "value")  # the others may be absent: a version that lacked them wrote it


def foreign(config: Any, trust: Sequence[str], where: Path) -> DictConfig:
    """The configuration that was read from ``where``, typed and checked; what is no key of ours is left out.

    ``trust``: packages that the person at the command line lets it name; what the file says of that is not heard.
    Raises ConfigError.
    """
    if not isinstance(config, dict):
        raise ConfigError(f"{where}: holds no configuration")
    known = {field.name for field in fields(Config)} - {"trust"}
    kept = {key: value for key, value in config.items() if key in known}
    for key, text in _texts(kept):
        if "${" in text:  # a run writes what it resolved; ${oc.env:...} would read, and show, what is secret here
            raise ConfigError(f"{where}: {key}: an interpolation, which no run writes")
    try:
        cfg = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Config), kept, {"trust": list(trust)}))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    for group in GROUPS:
        if cfg[group] is not None or group in _OF_THE_POLICY:
            strategy(group, cfg[group], trust)
    check(cfg)
    name = str(cfg.env.get("id"))
    module, colon, _ = name.rpartition(":")
    if colon and module.split(".")[0] not in trust:  # gymnasium would import it
        raise ConfigError(f"{where}: env.id={name} is in {module}, a package of its own, which needs to be trusted")
    return cfg


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
