"""The curves of one run: return, KL over its bands, critic; and every number it logged, one at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from ppo.doctor.history import History
from ppo.logging.band import BANDS, band_at
from ppo.logging.metrics import about
from ppo.logging.panels import PANELS
from ppo.page.chart import Curves, Line

STEPS = "environment steps"
MORE = (("clip fraction", ("clip/fraction",), ()), ("entropy [nat]", ("policy/entropy",), ()))


def charts(history: History) -> list[Curves]:
    """KL and return, the metric that is chosen, and the others that are always there."""
    kl, returns, *others = _panels(history)
    return [kl, returns, *_chosen(history), *(chart for chart in others if len(chart.lines[0].x))]


def named(history: History) -> list[str]:
    """The metrics that are numbers; losses and gradients first, what is merely kept beside them last."""
    order = ("loss", "grad", "lr", "policy", "value", "kl")
    names = [
        name
        for name in dict.fromkeys(name for row in history.rows for name in row)
        if name not in ("update", "env_steps")
        and all(isinstance(row.get(name, 0.0), int | float) for row in history.rows)
    ]
    groups = {name: name.split("/")[0] for name in names}
    return sorted(names, key=lambda name: order.index(groups[name]) if groups[name] in order else len(order))


def _panels(history: History) -> Iterator[Curves]:
    for title, drawn, dotted in (*PANELS, *MORE):
        lines = [_line(history, name, "a0", "line") for name in drawn] + [
            _line(history, name, "a1", "dots") for name in dotted
        ]
        scale, note = "linear", ""
        if len(lines) > 1:
            note = "Line: training; dots: evaluation."
        if drawn == ("kl/final",):
            scale, note = "kl", "A dot an update in the colour of its band, which depends on the phase of training."
            lines = [lines[0]._replace(colour="faint"), *_banded(history), *_limit(history)]
        elif drawn == ("loss/value",) and len(lines[0].y) > 1 and lines[0].y.min() > 0:
            scale = "log"
        yield Curves(title, STEPS, lines, scale=scale, note=note, group="run")


def _line(history: History, metric: str, colour: str, style) -> Line:
    """A metric where it was logged; what is not finite there stays a gap."""
    have = np.array([metric in row for row in history.rows])
    return Line(metric, history["env_steps"][have], history[metric][have], colour, style=style)


def _banded(history: History) -> Iterator[Line]:
    """The updates of each band as dots."""
    steps, kl = history["env_steps"], history.kl
    total = history.option("total_steps", steps[-1])
    names = np.array([band_at(value, step / total).name for value, step in zip(kl, steps, strict=True)])
    for band in BANDS:
        inside = (names == band.name) & np.isfinite(kl)
        if inside.any():
            yield Line(f"kl/final, {band.name}", steps[inside], kl[inside], band.name, style="dots")


def _limit(history: History) -> Sequence[Line]:
    """The KL at which the run's own rule stops an update."""
    limit, steps = history.limit(), history["env_steps"]
    if not np.isfinite(limit):
        return ()
    return [Line("limit of the stop", steps[[0, -1]], np.array([limit, limit]), "critical")]


def _chosen(history: History) -> Iterator[Curves]:
    for name in named(history):
        metric = about(name)
        title = f"{name} [{metric.unit}]" if metric and metric.unit else name
        line = _line(history, name, "a2", "line")
        yield Curves(title, STEPS, [line], note=metric.text if metric else "", group="run", when={"metric": [name]})
