"""What an annotation allows: ``Annotated[float, Gt(0)]``, ``Literal["a", "b"]``, ``list[Annotated[int, Ge(1)]]``.

The constraints are those of ``annotated_types``. One function words them, so that every key is refused alike.
"""

import math
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen, Predicate

_KINDS = {int: ["a number"], float: ["a number"], bool: ["true", "false"], str: ["a text"], NoneType: ["null"]}


def bare(annotation: Any) -> Any:
    """The annotation as OmegaConf checks types: without constraints; ``str`` for a choice of texts, and for a function,
    which is given by its name."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return bare(parts[0])
    if origin in (Literal, Callable):
        return str
    if origin in (list, dict):
        return origin[tuple(map(bare, parts))]
    if origin in (Union, UnionType):
        return Union[tuple(map(bare, _typed(parts)))]  # noqa: UP007 - of a tuple
    return annotation


def is_function(annotation: Any) -> bool:
    """Whether what it is for is a function: ``Callable[..., Any]``, or that or None."""
    if get_origin(annotation) in (Union, UnionType):
        return any(map(is_function, get_args(annotation)))
    return get_origin(annotation) is Callable


def _typed(parts: Sequence[Any]) -> list[Any]:
    """The parts of a union that a person can type; the others come from the program alone, such as a tensor."""
    return [part for part in parts if part in _KINDS or part is Any or not isinstance(part, type)]


def wrong(value: Any, annotation: Any) -> str | None:
    """What is wrong with ``value``, as the end of a message ("must be at least 1"); None where it is allowed.

    The value is of the type that ``bare(annotation)`` says. A number must be finite, whatever its constraints.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated and value is None:
        return "must be given"
    if origin is Annotated:
        broken = (words(constraint) for constraint in parts[1:] if not _holds(value, constraint))
        return next(broken, None) or wrong(value, parts[0])
    if origin in (Union, UnionType):
        parts = _typed(parts)
        fitting = [part for part in parts if _fits(value, part)]
        verdicts = [wrong(value, part) for part in fitting]
        return f"must be {_any_of(parts)}" if not fitting else None if None in verdicts else verdicts[0]
    if origin is Literal:
        return None if value in parts else f"must be one of {', '.join(map(str, parts))}"
    if origin is list and parts:
        return next((said for entry in value if (said := wrong(entry, parts[0]))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    return "must be given" if value is None and annotation in (int, float, bool, str) else None


def words(constraint: Any) -> str:
    """The constraint in words. TypeError for one that nothing here knows."""
    match constraint:
        case Gt(gt=0):
            return "must be a positive number"
        case Gt(gt=low):
            return f"must be above {low}"
        case Ge(ge=0):
            return "must not be negative"
        case Ge(ge=low):
            return f"must be at least {low}"
        case Lt(lt=high):
            return f"must be below {high}"
        case Le(le=high):
            return f"must be at most {high}"
        case MinLen(min_length=1):
            return "must not be empty"
        case Predicate(func=math.isfinite):
            return "must be a finite number"
        case Interval():
            low = f"({constraint.gt}" if constraint.ge is None else f"[{constraint.ge}"
            high = f"{constraint.lt})" if constraint.le is None else f"{constraint.le}]"
            return f"must lie in {low}, {high}"
    raise TypeError(f"{constraint}: ppo.config.ranges has no words for it")


def _holds(value: Any, constraint: Any) -> bool:
    """Comparisons are written so that NaN meets none of them."""
    match constraint:
        case Gt(gt=low):
            return value > low
        case Ge(ge=low):
            return value >= low
        case Lt(lt=high):
            return value < high
        case Le(le=high):
            return value <= high
        case MinLen(min_length=least):
            return len(value) >= least
        case Predicate(func=test):
            return test(value)
        case GroupedMetadata():
            return all(_holds(value, part) for part in constraint)
    raise TypeError(f"{constraint}: ppo.config.ranges does not know it")


def _fits(value: Any, part: Any) -> bool:
    """Whether ``value`` is of the kind that this part of a union is for."""
    if get_origin(part) is Annotated:
        return _fits(value, get_args(part)[0])
    if get_origin(part) is Literal:
        return value in get_args(part)
    if part is float:
        return isinstance(value, int | float)
    if is_function(part):
        return isinstance(value, str)
    if get_origin(part) is list:
        return isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, get_origin(part) or part)


def _any_of(parts: Sequence[Any]) -> str:
    """What a union takes, in words: "a number or auto"."""
    said: list[str] = []
    for part in parts:
        inner = get_args(part)[0] if get_origin(part) is Annotated else part
        said += map(str, get_args(part)) if get_origin(part) is Literal else _KINDS.get(inner, ["a list"])
    return " or ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)
