"""The configuration: options bound to functions, and what a mistake is called, before a run exists.

A group's option is a function; its yaml names it (``_target_``) and its keyword-only arguments are its options. Their
annotations say what is allowed and the yaml says what they are by default. ``strategy`` binds the two and refuses what
does not fit.
"""

import difflib
import hashlib
import inspect
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, make_dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ppo.config.ranges import bare, is_function, wrong
from ppo.config.schema import CONF, GROUPS, is_open, ranges

CALLS = list[dict[str, Any]]  # an option of this type is a list of functions to call, each named by its ``_target_``
WRAPPERS = ("gymnasium.wrappers", "envs.wrappers")  # modules that it may name without trust
MOVED = {"coef.kl": "penalty=fixed penalty.beta=NUMBER"}  # keys of earlier versions, and how to say it now


class ConfigError(ValueError):
    """A mistake in the configuration. One line: which key, what is wrong, what would be right."""


def dotted(node: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of a configuration: ``lr.value`` and what it is set to."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def short(name: str, *, most: int = 200) -> str:
    """``name`` as that of one folder: a slash in it (``env.id=../../x``) would lead out of the sweep's, and no file
    system takes more than 255 bytes. What had to be changed ends with a digest of all of it.
    """
    flat = name.replace("/", "_")
    if flat == name and len(name.encode()) <= most:
        return name
    return f"{flat.encode()[: most - 9].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("short", short, replace=True)


def option(group: str, name: str, /, **given: Any) -> partial:
    """The option ``group=name`` with its yaml's defaults and what is ``given``, checked as the command line's is.

    For programs and tests that call an option without Hydra. Raises ConfigError.
    """
    known = yamls(group)
    if name not in known:
        raise ConfigError(f"{group}={name}: no such option{suggest(name, known)}")
    return strategy(group, {"_target_": known[name]["_target_"], **given})


def strategy(group: str, node: DictConfig | dict[str, Any] | None, trust: Iterable[str] = ()) -> partial:
    """The function that ``node`` names, its options bound. Raises ConfigError, naming group and key.

    What the node leaves out has the value of the option's yaml. Only what a yaml of the group names can be called, and
    anything in a package of ``trust``.
    """
    try:
        options = plain(node) if isinstance(node, DictConfig) else dict(node) if isinstance(node, dict) else {}
    except OmegaConfBaseException as error:
        raise ConfigError(f"{group}: {error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    if "_target_" not in options:
        raise ConfigError(f"{group}: no option chosen; give one as {group}=NAME")
    target = str(options.pop("_target_"))
    defaults = defaults_of(group, target)
    if defaults is None and target.split(".")[0] not in trust:
        raise ConfigError(
            f"{group}._target_: {target!r} is no option of {group}; to call into a package of your own: trust=[PACKAGE]"
        )
    function = _function(group, target)
    known = parameters(function)
    name = target.rsplit(".", 1)[-1]
    for key in options:
        if key not in known:
            raise ConfigError(f"{group}.{key}: {group}={name} has no such option{suggest(str(key), known)}")
    if defaults is None:  # of somebody else's function, its own
        defaults = {key: p.default for key, p in known.items() if p.default is not p.empty}
    bound = _typed(group, known, defaults | options)
    for key, p in known.items():
        if p.annotation == CALLS:
            bound[key] = [_call(f"{group}.{key}[{i}]", entry, trust) for i, entry in enumerate(bound[key])]
        elif is_function(p.annotation) and bound[key] is not None:
            bound[key] = _named(f"{group}.{key}", bound[key], trust)
    return partial(function, **bound)


def _named(key: str, name: str, trust: Iterable[str]) -> Callable:
    """The function that ``name`` names, of a package of ``trust``: mypackage.make. Raises ConfigError."""
    package, dot, _ = name.partition(".")
    if not dot or package not in trust:
        hint = f"trust=[{package}]" if dot else "PACKAGE.FUNCTION"
        raise ConfigError(f"{key}={name}: to call a function of a package of your own: {hint}")
    return _resolve(key, name)


def _resolve(key: str, name: str, near: str = "") -> Callable:
    """The function that ``name`` names: PACKAGE.MODULE.FUNCTION. Raises ConfigError with what its module raised; ``near``:
    what may have been meant."""
    try:
        function = resolve_name(name)
    except Exception as error:
        cause = _of_its_module(name) or error
        why = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
        raise ConfigError(f"{key}: there is no {name!r} ({why}){near}") from error
    if not callable(function):
        raise ConfigError(f"{key}: {name!r} is of type {type(function).__name__}, not a function")
    return function


def _of_its_module(name: str) -> ImportError | None:
    """What the module of ``name`` could not import. resolve_name only tells that its package has no such attribute."""
    try:
        import_module(name.rpartition(".")[0])
    except ImportError as error:
        missing = error.name or ""
        return None if f"{name}.".startswith(f"{missing}.") else error
    except Exception:  # resolve_name tells of these itself
        return None
    return None


def _call(key: str, entry: dict[str, Any], trust: Iterable[str]) -> partial:
    """What an entry of a list of calls names, its options bound: {_target_: gymnasium.wrappers.TimeAwareObservation}.

    gymnasium's own wrappers can be named, and anything in a package of ``trust``. Raises ConfigError.
    """
    options = dict(entry)
    target = options.pop("_target_", None)
    if not isinstance(target, str):
        raise ConfigError(f"{key}={entry}: needed is {{_target_: gymnasium.wrappers.NAME, OPTION: VALUE, ...}}")
    module, _, name = target.rpartition(".")
    if module not in WRAPPERS and target.split(".")[0] not in trust:
        raise ConfigError(
            f"{key}._target_: {target!r} is none of {' or '.join(WRAPPERS)}; to call into a package of your own: trust=[PACKAGE]"
        )
    known = [n for n in dir(import_module(module)) if n[0].isupper()] if module in WRAPPERS else []
    near = suggest(name, known) if difflib.get_close_matches(name, known, 1) else ""
    function = _resolve(f"{key}._target_", target, near)
    try:
        inspect.signature(function).bind(None, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {name}: {error}") from error
    return partial(function, **options)


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """The options of a function: its keyword-only arguments."""
    every = inspect.signature(function, eval_str=True).parameters
    return {key: p for key, p in every.items() if p.kind is p.KEYWORD_ONLY}


def _typed(group: str, known: dict[str, inspect.Parameter], options: dict) -> dict[str, Any]:
    """The options as their annotations have them: 1 becomes 1.0 for a float. ConfigError for what these do not allow."""
    annotations = {key: Any if p.annotation is p.empty else p.annotation for key, p in known.items()}
    schema = make_dataclass(group, [(key, bare(a), field(default=MISSING)) for key, a in annotations.items()])
    try:
        bound = plain(cast(DictConfig, OmegaConf.merge(OmegaConf.structured(schema), options)))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{group}.{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    for key, value in bound.items():
        if said := wrong(value, annotations[key]):
            raise ConfigError(f"{group}.{key}={value}: {said}")
    return bound


def _function(group: str, target: str) -> Callable:
    """What ``_target_`` names. A function whose name would be a word of Python's ends in ``_``, as the custom is:
    ``ppo.loss.norm.global`` is the option of ``global_``."""
    return _resolve(f"{group}._target_", f"{target}_" if keyword.iskeyword(target.rpartition(".")[2]) else target)


@cache
def yamls(group: str) -> dict[str, dict[str, Any]]:
    """What the yaml of each option of a group says, ``_target_`` among it, by the option's name."""
    return {path.stem: _read(path) for path in sorted((CONF / group).glob("*.yaml"))}


def _read(path: Path) -> dict[str, Any]:
    """A yaml of an option, with those of ``_shared/`` that it takes in."""
    own = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    shared = [CONF / f"{entry.split('@')[0].lstrip('/')}.yaml" for entry in own.pop("defaults", ())]
    return {key: value for each in shared if each.exists() for key, value in _read(each).items()} | own


def defaults_of(group: str, target: str) -> dict[str, Any] | None:
    """The defaults of the option of ``group`` that calls ``target``; None where no option does."""
    found = next((said for said in yamls(group).values() if said["_target_"] == target), None)
    return None if found is None else {key: value for key, value in found.items() if key != "_target_"}


def fit(cfg: DictConfig, typed: Iterable[str], choices: Mapping[str, str] | None = None) -> DictConfig:
    """``cfg`` without what a recipe says to an option that was then not chosen: its ``clip.eps``, after ``clip=none``; or what
    the default option of a group says, after ``network._target_=mypackage.net``.

    ``typed``: the words of the command line. A key that these name stays, so that it is refused. ``choices``: which yaml
    each group has, where that may be one of a person's own: what such a one says is meant.
    """
    typed = list(typed)
    _known(cfg, typed)
    named = {word.lstrip("+").partition("=")[0] for word in typed}
    cfg = cfg.copy()
    for group in GROUPS:
        if not cfg[group]:
            continue
        target = str(cfg[group].get("_target_"))
        known, ours = defaults_of(group, target), yamls(group)
        elsewhere = {key for said in ours.values() for key in said}
        words = {name.partition(".")[2] for name in named if name.startswith(f"{group}.")}
        chosen = [*ours.values()] if choices is None else [ours.get(choices.get(group, ""), {})]
        for key in (set(cfg[group]) - {"_target_", *(known or {}), *words}) & elsewhere:
            of_yaml = any(cfg[group][key] == said[key] for said in chosen if key in said)
            if known is not None or of_yaml or not _takes(group, target, key, cfg.trust):
                with open_dict(cfg[group]):
                    del cfg[group][key]
    return cfg


def _known(cfg: DictConfig, typed: Sequence[str]) -> None:
    """Raise ConfigError where a person adds a key that nothing reads, as with a letter too few: ``+total_step=9``."""
    known = dict(ranges())
    for word in typed:
        key = word.lstrip("+").partition("=")[0]
        if not word.startswith("+") or key.partition(".")[0] in GROUPS or is_open(key) or key in known:
            continue
        read = any("${" + key in other for other in typed)
        value = OmegaConf.select(cfg, key, default=None)
        if value is not None and not OmegaConf.is_config(value) and not read:
            raise ConfigError(f"{word}: no such key{suggest(key, known)}")


def _takes(group: str, target: str, key: str, trust: Iterable[str]) -> bool:
    """Whether what a person wrote has an option of this name; also where it is not to be looked at: then it is refused later."""
    if target.partition(".")[0] not in trust:
        return True
    try:
        return key in parameters(_function(group, target))
    except Exception:  # whatever their module raises, which is told when it is bound
        return True


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
