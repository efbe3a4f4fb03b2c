"""The configuration: options bound to functions, and what a mistake is called, before a run exists.

A group's option is a function; its yaml names it (``_target_``) and its keyword-only arguments are its options. So the
function's signature is the schema: ``strategy`` binds the two and refuses what does not fit.
"""

import difflib
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import field, make_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, cast, get_type_hints

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

import ppo.config.schema  # noqa: F401 - Hydra knows it from then on

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
CONF = Path(__file__).parents[2] / "conf"

_RENAMED = {  # modules that options lived in before, as run folders of earlier versions name them
    "ppo.update.lr": "ppo.control.lr",
    "ppo.update.stop": "ppo.control.stop",
    "ppo.loss.clip": "ppo.control.clip",
    "ppo.loss.penalty": "ppo.control.penalty",
    "ppo.demo": "ppo.loss.demo",
}
MOVED = {"coef.kl": "penalty=fixed penalty.beta=NUMBER"}  # keys of earlier versions, and how to say it now


class ConfigError(ValueError):
    """A mistake in the configuration. One line: which key, what is wrong, what would be right."""


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
    types = get_type_hints(function)  # without what Annotated adds
    schema = make_dataclass(name, [_schema_field(p.replace(annotation=types[n])) for n, p in known.items()])
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
        return p.name, p.annotation, field(default="???")
    if isinstance(p.default, list | dict):
        return p.name, p.annotation, field(default_factory=lambda: p.default.copy())
    return p.name, p.annotation, field(default=p.default)


def suggest(key: str, known: Iterable[str]) -> str:
    """What the writer of ``key`` may have meant, as the end of an error message."""
    known = list(known)
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there is {', '.join(known)}" if known else "; there is none"


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers."""
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
