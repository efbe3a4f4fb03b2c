"""What a page draws, as data: curves over one axis, and rows of dots with intervals. ``encoded`` is its JSON.

A chart is shown where its ``when`` fits what the reader has chosen: ``{"env": ["ant"], "endpoint": ["eval/final"]}``. Colours
are those of page.css by name: ``a0`` to ``a9`` of arms, ``healthy`` to ``critical`` of the bands, ``plain``, ``faint``.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from ppo.logging.band import BANDS, EDGES
from ppo.logging.base import visible
from ppo.page.thin import thinned

ARM_COLOURS = 10  # of page.css; the next arms take them again
# Numbers of a page, at six letters each: of all lines together and of all bands, and of one of them at least and at most.
LINES, POINTS = 220_000, (50, 500)
BANDS_OF_ARMS, BAND_POINTS = 60_000, (30, 200)

When = Mapping[str, Sequence[str]]
ALWAYS: When = MappingProxyType({})


class Line(NamedTuple):
    """One curve: ``y`` [n] over ``x`` [n], ascending; what is not finite is a gap."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    arm: int | None = None  # whose switch hides it
    style: Literal["thin", "line", "dots", "rings"] = "line"


class Band(NamedTuple):
    """A middle and its interval, each [n], over ``x`` [n]."""

    name: str
    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: str
    arm: int | None = None  # None: of no arm, so that its name stands beside the title
    step: bool = False  # constant from each x to the next


class Curves(NamedTuple):
    """Curves over one axis. Those of one ``group`` are zoomed together; by default of one title."""

    title: str
    x_label: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    scale: Literal["linear", "log", "kl"] = "linear"  # kl: with the bands of the KL, logarithmic above them
    note: str = ""
    group: str = ""
    when: When = ALWAYS


class Dot(NamedTuple):
    """One run of a row."""

    x: float
    name: str
    failed: bool = False


class Row(NamedTuple):
    """One label and what lies beside it: dots, and a middle with its interval."""

    label: str
    colour: str
    dots: Sequence[Dot]
    middle: float
    low: float
    high: float
    arms: Sequence[int] = ()  # the row goes where one of them is hidden


class Rows(NamedTuple):
    """Rows of dots over one axis. ``limits``: of the axis; None: of what is there. ``reference``: a line across."""

    title: str
    x_label: str
    rows: Sequence[Row]
    limits: tuple[float, float] | None = None
    reference: float | None = None
    note: str = ""
    when: When = ALWAYS


class Choice(NamedTuple):
    """A switch of the page: its word in ``when``, what it is called, and the values to choose from, the first at first."""

    key: str
    label: str
    options: Sequence[str]
    all: str = ""  # what "all of them" is called, which then comes first; empty: one is always chosen


def arm_colour(arm: int) -> str:
    """The name of an arm's colour."""
    return f"a{arm % ARM_COLOURS}"


def shown(when: When) -> dict[str, list[str]]:
    """``when`` in the letters of the page."""
    return {key: [visible(value) for value in values] for key, values in when.items()}


def encoded(charts: Sequence[Curves | Rows], *, arms: Sequence[str] = (), choices: Sequence[Choice] = ()) -> dict:
    """Charts, arms and switches as plain lists, dicts, numbers and texts. Axes that are equal are there once, in ``xs``."""
    curved = [chart for chart in charts if isinstance(chart, Curves)]
    points = _share(LINES, sum(len(chart.lines) for chart in curved), POINTS)
    places = _share(BANDS_OF_ARMS // 4, sum(len(chart.bands) for chart in curved), BAND_POINTS)
    axes: dict[bytes, tuple[int, list]] = {}

    def axis(x: np.ndarray) -> int:
        return axes.setdefault(np.asarray(x, float).tobytes(), (len(axes), _steps(x)))[0]

    def curves(chart: Curves) -> dict:
        drawn = []
        for line in chart.lines:
            x, y = thinned(line.x, line.y, points)
            drawn.append(line._asdict() | {"name": visible(line.name), "x": axis(x), "y": _rounded(y)})
        bands = []
        for band in chart.bands:
            every = slice(None, None, -(-len(band.x) // places))  # a band is smooth: it has no spike to lose
            values = {key: _rounded(getattr(band, key)[every]) for key in ("middle", "low", "high")}
            bands.append(band._asdict() | values | {"name": visible(band.name), "x": axis(band.x[every])})
        return {
            "kind": "curves",
            "lines": drawn,
            "bands": bands,
            "scale": chart.scale,
            "group": chart.group or chart.title,
        }

    def rows(chart: Rows) -> dict:
        listed = [
            {"label": visible(row.label), "colour": row.colour, "arms": [*row.arms]}
            | {"middle": _rounded([row.middle])[0], "interval": _rounded([row.low, row.high])}
            | {"dots": [[_rounded([dot.x])[0], visible(dot.name), dot.failed] for dot in row.dots]}
            for row in chart.rows
        ]
        return {"kind": "rows", "rows": listed, "limits": chart.limits, "reference": chart.reference}

    drawn = [
        (curves(chart) if isinstance(chart, Curves) else rows(chart))
        | {"title": visible(chart.title), "note": visible(chart.note), "x_label": visible(chart.x_label)}
        | {"when": shown(chart.when)}
        for chart in charts
    ]
    return {
        "arms": [{"name": visible(arm), "colour": arm_colour(i)} for i, arm in enumerate(arms)],
        "choices": [choice._asdict() | {"options": [*map(visible, choice.options)]} for choice in choices],
        "edges": [0.0, *EDGES],
        "bands": [band.name for band in BANDS],
        "xs": [x for _, x in axes.values()],
        "charts": drawn,
    }


def _share(of: int, among: int, between: tuple[int, int]) -> int:
    return min(max(between[0], of // max(1, among)), between[1])


def _steps(x: np.ndarray) -> list[Any]:
    return [int(value) if value == round(value) else float(f"{value:.7g}") for value in np.asarray(x, float).tolist()]


def _rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Five digits, more than a screen shows; None for what is not finite."""
    given = np.asarray(values, float)
    known = np.isfinite(given) & (np.abs(given) > 1e-100) & (np.abs(given) < 1e100)
    x = np.where(known, given, 1.0)
    power = np.floor(np.log10(np.abs(x))) - 4
    unit = 10.0 ** np.abs(power)  # dividing by it, and multiplying by a whole one, brings no digits of rounding
    short = np.where(known, np.where(power < 0, np.round(x * unit) / unit, np.round(x / unit) * unit), given)
    return [_plain(value) for value in short.tolist()]


def _plain(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
