"""Words of the command line whose values are paths: a path is a path, whatever is in its name."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ppo.config.options import ConfigError, yamls
from ppo.config.schema import GROUPS

EXISTING = ("init", "resume", "reference.run", "demo.path")  # these name what is there already
_NEW = ("hydra.run.dir", "hydra.sweep.dir")
_PLAIN = re.compile(r"[A-Za-z0-9_./:+-]*")  # neither Hydra nor a shell sees anything in these

_ALIVE = set('"$`\\!')  # what a shell sees within double quotes


def word(key: str, value: str | Path) -> str:
    """``key=value`` as a person would have to type it: quoted for Hydra, and that for the shell, where it must be."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    typed = f"{key}={quoted(text)}"
    return shlex.quote(typed) if set(typed) & _ALIVE else f'"{typed}"'  # the second is the one that can be read


def quoted(text: str) -> str:
    """``text`` as a quoted value of Hydra's; interpolations in it are still resolved."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - trailing :]}'"


def paths_quoted(words: Sequence[str]) -> list[str]:
    """``words`` with the values that are paths quoted for Hydra, to which ``=``, ``,``, brackets, blanks and letters such as
    ``ä`` would mean something else. A list of several paths, for a sweep, is none that exists and stays as it is.

    Raises ConfigError where a value is empty, as that of a variable that is not set: it would change nothing."""
    return [_quoted_path(typed) for typed in words]


def unreadable(words: Sequence[str]) -> ConfigError | None:
    """What to say of the first word that Hydra cannot read: the form in which it can."""
    for typed in words:
        key, equals, value = typed.partition("=")
        if typed.startswith("-") or not equals:
            continue
        try:
            OverridesParser.create().parse_override(typed)
        except HydraException:
            if value[:1] in ("{", "["):
                return ConfigError(f"{typed}: cannot be read; a text within has quotes: '{key}={{name: \"a b\"}}'")
            return ConfigError(f"{typed}: cannot be read; as one text it is {word(key, value)}")
    return None


def groups_named(words: Sequence[str]) -> None:
    """Raise ConfigError where a group is to have no option at all: ``logger=null``."""
    for typed in words:
        key, _, value = typed.partition("=")
        if key in GROUPS and value.lower() in ("null", "none") and value not in (options := yamls(key)):
            raise ConfigError(f"{typed}: choose one of {', '.join(options)}")


def _quoted_path(typed: str) -> str:
    key, equals, value = typed.partition("=")
    name = key.lstrip("+")
    # Quoted, an empty text says of a run that there is none; a folder always has a name.
    empty = ("",) if name in EXISTING else ("", "''", '""')
    if equals and value in empty and name in (*EXISTING, *_NEW):
        raise ConfigError(f"{typed}: names no path (is a shell variable empty?); without one, leave the word out")
    if name in (*EXISTING, *_NEW) and value[:1] == "~":  # a shell leaves it alone here
        value = os.path.expanduser(value)
        typed = f"{key}={value}"
    if not equals or _PLAIN.fullmatch(value) or value[:1] in ("'", '"'):
        return typed
    if name in _NEW or (name in EXISTING and _exists(value)):
        return f"{key}={quoted(value)}"
    return typed


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long for one
        return False
