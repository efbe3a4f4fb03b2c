"""Which numbers of a run ``match_kl=`` moves, found by asking the bound options."""

from collections.abc import Callable, Collection, Mapping

from ppo.config.options import ConfigError
from ppo.control.match import Match
from ppo.control.width import Knob, Width, knobs_of
from ppo.loss.objective import NATURAL
from ppo.run.effects import differs, steps_of

_HOLD = ("objective", "clip", "penalty", "outer", "project")  # groups that hold the policy
TARGET_KL = Width(1e-4, 1.0)


def matching(
    chosen: Mapping[str, Callable], unread: Collection[str], *, match_kl: float | None, target_kl: float | None
) -> Match | None:
    """``match_kl=`` for the ``chosen`` options, of which those of the groups in ``unread`` have no effect.

    Where one of them follows ``target_kl`` itself (a bound, an adaptive penalty), that is its width. Raises ConfigError
    where nothing has one.
    """
    if match_kl is None:
        return None
    knobs = [knob for group in _HOLD if group not in unread for knob in knobs_of(group, chosen[group])]
    follows = any(differs(chosen[group], "target_kl") for group in ("clip", "penalty") if group not in unread)
    if target_kl is not None and (follows or steps_of(chosen["objective"]) == NATURAL):
        knobs.append(Knob("target_kl", target_kl, TARGET_KL))
    if not knobs:
        raise ConfigError(f"match_kl={match_kl}: nothing here has a width that could be moved; clip=fixed would")
    return Match(match_kl, tuple(knobs))
