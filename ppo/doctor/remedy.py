"""What is advised: words of the command line, held against the configuration before they are said."""

import json
import math
from functools import lru_cache
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.check import bind
from ppo.config.options import ConfigError, yamls
from ppo.config.schema import GROUPS
from ppo.doctor.history import History, lookup


def useful(words: str, config: dict[str, Any]) -> str:
    """``words`` without those that ``config`` has already; empty where none is left, where one does not fit, or where together
    they are not ``allowed``.

    A word fits where the option that is chosen has such a key: ``clip.eps`` does not with ``clip=asymmetric``, unless
    ``clip=fixed`` stands before it. Of what ``config`` does not say, nothing is known, and every word fits.
    """
    kept: list[str] = []
    switched: set[str] = set()
    for word in words.split():
        key, _, value = word.partition("=")
        group, _, name = key.partition(".")
        node = config.get(group)
        is_option = isinstance(node, dict) and "_target_" in node
        if is_option and not name:
            if str(node["_target_"]).rpartition(".")[2] == value:
                continue
            switched.add(group)
        elif is_option and group not in switched:
            if name not in node:
                return ""
            if same(node[name], value):
                continue
        elif not is_option and same(lookup(config, key), value):
            continue
        kept.append(word)
    left = " ".join(kept)
    return left if left and allowed(left, config) else ""


def allowed(words: str, config: dict[str, Any]) -> bool:
    """Whether a run of ``config`` may have these ``words`` as well, by what keys say of each other: ``stop=rollback`` is
    refused beside ``objective=vmpo``. Of a configuration that is refused as it is, such as one with a package of its owner's,
    nothing is known, and every word is allowed.
    """
    text = json.dumps(config, sort_keys=True, default=str)
    return not _accepted("", text) or _accepted(words, text)


@lru_cache(maxsize=256)  # a run that is watched asks after each of its updates
def _accepted(words: str, text: str) -> bool:
    said = json.loads(text) | {"trust": [], "env": None, "logger": None}
    try:
        for word in words.split():
            key, _, value = word.partition("=")
            if key in GROUPS:
                said[key] = yamls(key)[value]
        typed = [word for word in words.split() if word.partition("=")[0] not in GROUPS]
        bind(cast(DictConfig, OmegaConf.merge(said, OmegaConf.from_dotlist(typed))), required=())
    except (ConfigError, OmegaConfBaseException, LookupError, TypeError):
        return False
    return True


def same(value: Any, word: str) -> bool:
    """Whether ``word``, as it is typed, means ``value``: 3e-05 is 0.00003, and true is True."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value).lower() == word.lower()
    try:
        return math.isclose(float(value), float(word), rel_tol=1e-9)
    except (TypeError, ValueError):
        return False


def slower(history: History, factor: float) -> str:
    """The override that divides the learning rate by ``factor``; a factor below 1 makes it larger.

    An adaptive rate goes where it wants, whatever it starts with: there it is its range that moves.
    """
    logged = [rate for rate in history["lr"] if math.isfinite(rate)]
    if history.chosen("lr").startswith("adaptive_kl"):
        target = round_to((logged[-1] if logged else history.option("lr.value", 3e-4)) / factor)
        low, high = history.option("lr.min", 1e-5), history.option("lr.max", 1e-2)
        if factor > 1:
            words = [f"lr.max={target}", f"lr.value={target}", *([f"lr.min={target}"] if float(target) < low else [])]
        else:
            words = [f"lr.min={target}", f"lr.value={target}", *([f"lr.max={target}"] if float(target) > high else [])]
        return " ".join(words)
    rate = history.option("lr.value", max(logged, default=1e-4))
    return f"lr.value={round_to(rate / factor)}"


def limited(history: History, stop: str = "minibatch") -> str:
    """A limit for a run that has none: at its own target, where that is a healthy one, else at 0.02."""
    own = history.option("target_kl")
    return f"stop={stop}" if own and 0.005 <= own <= 0.05 else f"stop={stop} target_kl=0.02"


def round_to(value: float, digits: int = 1) -> str:
    """With that many significant digits, as a person would type it: 3e-05, 0.015."""
    return f"{float(f'{value:.{digits}g}'):g}"


def to_reach(kl: float, *, aim: float = 0.015) -> float:
    """The factor by which a learning rate is too large, between 2 and 30.

    The KL of a single step grows with its square, that of a whole update, which the clip holds back, in proportion: the
    exponent lies between the two.
    """
    return float(min(30.0, max(2.0, (kl / aim) ** 0.75))) if math.isfinite(kl) else 30.0
