"""What an annotation allows, and how a message says so."""

import math
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, IsFinite, Le, Lt, MinLen, Timezone

from ppo.config.ranges import bare, words, wrong

Auto = Annotated[int, Ge(1)] | Literal["auto"]


@pytest.mark.parametrize(
    ("annotation", "allowed", "refused"),
    [
        (Annotated[float, Gt(0)], [1e-300, 1e300], {0.0: "be a positive number", math.inf: "be a finite number"}),
        (Annotated[float, Gt(1)], [1.1], {1.0: "be above 1", math.nan: "be above 1"}),
        (Annotated[int, Ge(0)], [0, 10**400], {-1: "not be negative"}),
        (Annotated[float, Gt(0), Le(80)], [80.0], {80.1: "be at most 80", -1.0: "be a positive number"}),
        (Annotated[float, Lt(1)], [-1.0], {1.0: "be below 1"}),
        (Annotated[float, Interval(ge=0, le=1)], [0.0, 1.0], {1.1: "lie in [0, 1]", math.nan: "lie in [0, 1]"}),
        (Annotated[float, Interval(gt=0, lt=1)], [0.5], {0.0: "lie in (0, 1)", 1.0: "lie in (0, 1)"}),
        (IsFinite[float], [-3.0], {math.nan: "be a finite number"}),
        (float, [0.0], {-math.inf: "be a finite number"}),
        (float | None, [None, 1.0], {math.nan: "be a finite number"}),
        (int, [3], {None: "be given"}),
        (Auto, [1, "auto"], {0: "be at least 1", "many": "be a number or auto"}),
        (bool | Literal["auto"], [True, "auto"], {"maybe": "be true, false or auto"}),
        (Literal["a", "b"] | None, [None, "a"], {"c": "be a, b or null"}),
        (Literal["a", "b"], ["b"], {"c": "be one of a, b"}),
        (list[Annotated[int, Ge(1)]], [[], [2]], {(2, 0): "be at least 1"}),
        (Annotated[list[Literal["a"]], MinLen(1)], [["a"]], {(): "not be empty", ("b",): "be one of a"}),
        (Any, [1j], {}),
        (dict[str, Any], [{}, {"a": math.nan}], {}),
    ],
    ids=str,
)
def test_a_value_is_allowed_or_refused_in_words(annotation, allowed, refused):
    assert [value for value in allowed if wrong(value, annotation)] == []
    assert {value: wrong(value, annotation) for value in refused} == {v: f"must {said}" for v, said in refused.items()}


def test_omegaconf_is_given_types_without_ranges():
    assert bare(Annotated[float, Gt(0)] | None) == float | None
    assert bare(Auto) == int | str and bare(bool | Literal["auto"]) == bool | str
    assert bare(Annotated[list[Literal["a"]], MinLen(1)]) == list[str]
    assert bare(dict[str, Any]) == dict[str, Any] and bare(Any) is Any


def test_a_constraint_that_nobody_worded_is_a_mistake_of_ours():
    for ask in (lambda: words(Timezone("UTC")), lambda: wrong("noon", Annotated[str, Timezone("UTC")])):
        with pytest.raises(TypeError, match="Timezone"):
            ask()
