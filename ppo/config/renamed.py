"""Keys of options that have another name now: earlier configurations and command lines are read by these."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Renamed(NamedTuple):
    """What a key is called now, its values (one that is not among them stays), and why."""

    key: str
    values: Mapping[str, str]
    why: str


RENAMED = {
    "reference": {
        "direction": Renamed(
            "kl",
            {"forward": "reverse", "reverse": "exact"},
            "its two words mean what they mean in kl=, the reference being the old policy",
        )
    }
}


def option_of_today(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """An option of a configuration, by today's keys."""
    found = dict(node)
    for old, new in RENAMED.get(group, {}).items():
        if old in found:
            value = found.pop(old)
            found.setdefault(new.key, new.values.get(str(value), value))
    return found


def words_of_today(words: Sequence[str]) -> list[str]:
    """Words of the command line, by today's keys; of each that was not, a line on stderr says so."""
    return [_word(typed) for typed in words]


def _word(typed: str) -> str:
    key, equals, value = typed.partition("=")
    group, _, old = key.lstrip("+").partition(".")
    new = RENAMED.get(group, {}).get(old)
    if new is None or not equals:
        return typed
    # Several values, as a sweep has them, are each translated.
    now = re.sub(r"\w+", lambda found: new.values.get(found[0], found[0]), value)
    word = f"{key.removesuffix(old)}{new.key}={now}"
    print(f"{typed} is called {word} now: {new.why}. The old word is still read, for a while", file=sys.stderr)
    return word
