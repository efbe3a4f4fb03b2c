"""How wide an option holds the policy: said in its signature, beside the number, and read from there."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from annotated_types import GroupedMetadata


@dataclass(frozen=True)
class Width(GroupedMetadata):
    """Marks a number of an option as the width of its trust region: ``eps: Annotated[float, Gt(0), Width(0.01, 3.0)]``.

    ``match_kl=`` moves it, within [low, high]. ``inverse``: a larger number holds the policy more tightly. Of what a
    person may type it forbids nothing.
    """

    low: float
    high: float
    inverse: bool = False

    def __iter__(self) -> Iterator[object]:
        return iter(())


class Knob(NamedTuple):
    """A width of a run: its name on the command line, the number given there, and how far it may be moved."""

    name: str
    value: float
    width: Width

    def at(self, scale: float) -> float:
        """The number where everything is ``scale`` times as wide as configured."""
        return self.value / scale if self.width.inverse else self.value * scale

    @property
    def scales(self) -> tuple[float, float]:
        """The (lowest, highest) scale that keeps it within its bounds."""
        ends = [bound / self.value for bound in (self.width.low, self.width.high)]
        low, high = sorted(1 / end for end in ends) if self.width.inverse else ends
        return min(low, 1.0), max(high, 1.0)  # a number that was given beyond its bounds is where it starts


def knobs_of(group: str, option: Callable) -> list[Knob]:
    """The widths of a bound option, in the order of its signature; those given as null or 0 are none."""
    if not isinstance(option, partial):
        return []
    given = option.keywords
    return [Knob(f"{group}.{key}", given[key], w) for key, w in _widths(option.func).items() if given.get(key)]


def widened(option: Callable, scale: float) -> Callable:
    """The bound option with its widths at this scale."""
    knobs = knobs_of("", option)
    return partial(option, **{knob.name[1:]: knob.at(scale) for knob in knobs}) if knobs else option


@cache
def _widths(function: Callable) -> dict[str, Width]:
    annotations = {key: p.annotation for key, p in inspect.signature(function, eval_str=True).parameters.items()}
    found = {key: next(_marks(annotation), None) for key, annotation in annotations.items()}
    return {key: width for key, width in found.items() if width is not None}


def _marks(annotation: Any) -> Iterator[Width]:
    """The widths in an annotation, those within a union too."""
    if get_origin(annotation) is Annotated:
        yield from (mark for mark in annotation.__metadata__ if isinstance(mark, Width))
    elif get_origin(annotation) is not None:
        for part in get_args(annotation):
            yield from _marks(part)


def bounds(knobs: tuple[Knob, ...]) -> tuple[float, float]:
    """The (lowest, highest) scale that keeps all of them within their bounds."""
    low, high = zip(*(knob.scales for knob in knobs), strict=True)
    return max(low), min((*high, math.inf))
