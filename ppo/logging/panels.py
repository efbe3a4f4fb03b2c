"""The panels of a run, drawn in one way wherever they are drawn: bands of the KL, return, critic. Needs matplotlib."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo.logging.band import BANDS, EDGES, band_at

COLOURS = {"dark_orange": "darkorange"}  # as rich names them -> as matplotlib does
# Title, the metrics drawn as lines, those drawn as dots; of the window, and of the dashboards' layouts.
PANELS = (
    ("KL(old‖new) after each update [nat]", ("kl/final",), ()),
    ("return", ("train/return",), ("eval/return",)),
    ("explained variance", ("value/explained_variance",), ()),
    ("value loss", ("loss/value",), ()),
)


def shade(axis) -> None:
    """Shade the bands of the KL behind what ``axis`` shows of it; above them its scale is logarithmic."""
    top = max(axis.get_ylim()[1], EDGES[0])
    for low, high, band in zip((0.0, *EDGES), (*EDGES, math.inf), BANDS, strict=True):
        if low < top:
            axis.axhspan(low, min(high, top), color=COLOURS.get(band.colour, band.colour), alpha=0.10, lw=0)
    axis.set_yscale("symlog", linthresh=EDGES[-1])  # a spike must not flatten the bands
    axis.set_ylim(0, top)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_yticks([edge for edge in (0.0, *EDGES, 0.1, 1.0, 10.0) if edge <= top])


def draw(figure: Any, rows: Sequence[dict], total_steps: int) -> None:
    """The four panels of one run, afresh: each update's KL in the colour of its band, return, explained variance, value
    loss."""
    figure.clear()
    axes = figure.subplots(2, 2, sharex=True)
    for axis, (title, lines, dots) in zip(axes.flat, PANELS, strict=True):
        for name, style in (*((name, "-") for name in lines), *((name, "o") for name in dots)):
            points = [(row["env_steps"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
            colour = "lightgrey" if name == "kl/final" else "C0" if style == "-" else "C1"
            axis.plot(*np.array(points, dtype=float).reshape(-1, 2).T, style, color=colour, ms=4, lw=1.2, label=name)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    kl = [(row["env_steps"], row["kl/final"]) for row in rows if math.isfinite(row["kl/final"])]
    colours = [band_at(value, steps / total_steps).colour for steps, value in kl]
    xy = np.array(kl, dtype=float).reshape(-1, 2).T
    axes[0, 0].scatter(*xy, c=[COLOURS.get(colour, colour) for colour in colours], s=16, zorder=3)
    shade(axes[0, 0])
    axes[0, 1].legend(fontsize=7)
    if len(rows) > 1 and all(row.get("loss/value", 1) > 0 for row in rows):
        axes[1, 1].set_yscale("log")
    for axis in axes[-1]:
        axis.set_xlabel("environment steps")
