"""The picture of ``ppo.compare.distance``: a curve of return over distance for each method. Needs matplotlib (the extra
``plots``)."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppo.compare.printed import visible
from ppo.logging.files import write_atomically

# Names are drawn as they are: a dollar in one begins no formula, and no layout of the user's is asked.
STYLE: dict = {"text.parse_math": False, "text.usetex": False}


def draw(rows: Sequence[dict], x: str, path: Path) -> None:
    """Write the PNG: an environment an axis, a method a line, intervals both ways; a hollow point is marked in the table.

    Raises ImportError without matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    envs, methods = (list(dict.fromkeys(row[key] for row in rows)) for key in ("env", "method"))
    palette = plt.get_cmap("tab10" if len(methods) <= 10 else "tab20")
    with plt.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        figure, axes = plt.subplots(
            1, len(envs), figsize=(max(7, 5 * len(envs)), 4), squeeze=False, layout="constrained"
        )
        drawn = {}
        for axis, env in zip(axes[0], envs):
            for i, method in enumerate(methods):
                points = [row for row in rows if (row["env"], row["method"]) == (env, method)]
                if points:
                    drawn.setdefault(method, _curve(axis, points, palette(i % palette.N)))
            if all(row["x"] > 0 for row in rows):
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_major_formatter("{x:g}")  # its own is a formula
                axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
            axis.set(title=visible(env), xlabel=f"{x}, mean over updates", ylabel=rows[0]["endpoint"])
            axis.grid(alpha=0.3)
        legend = axes[0, 0].legend([*drawn.values()], [str(i) for i in range(len(drawn))], fontsize=8)
        for text, method in zip(legend.get_texts(), drawn):  # matplotlib leaves out names that begin with an underscore
            text.set_text(visible(method))
        picture = io.BytesIO()
        figure.savefig(picture, dpi=110, format="png")
        plt.close(figure)
    write_atomically(path, picture.getvalue())


def _curve(axis, points: Sequence[dict], colour):
    """The line of a method through its arms, by distance."""
    x, y = (np.array([row[key] for row in points]) for key in ("x", "return"))
    (line,) = axis.plot(x, y, color=colour, lw=2)
    for row in points:
        error = {}
        for side, key in (("xerr", "x"), ("yerr", "return")):
            low, high = row[f"{key}_ci"]
            error[side] = [[row[key] - low], [high - row[key]]] if np.isfinite(low) else None
        fill = "white" if row["marks"] else colour
        axis.errorbar(row["x"], row["return"], color=colour, marker="o", mfc=fill, capsize=3, lw=1, **error)
    return line
