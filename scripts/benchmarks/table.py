"""From repeated measurements to rows, a printed table and a JSON file."""

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """One result. ``low`` and ``high`` are the lowest and highest repetition, ``value`` is their median."""

    bench: str
    workload: str
    name: str
    value: float
    unit: str
    low: float
    high: float
    ratio: float | None = None  # how many times as good as the fastest peer; None where there is none


Samples = dict[str, list[float | None]]  # by name, one for each round; None where a measurement failed


def rows(
    bench: str, workload: str, unit: str, samples: Samples, peer: str | None, *, more_is_better: bool
) -> list[Row]:
    """One row a name. ``ratio`` is the median over rounds of the quotient with ``peer`` in the *same* round.

    Measurements of one round stand close in time, so that a slow hour of the machine cancels in their quotient.
    Above 1 is better than the peer, whichever way the unit points. Names without a single measurement are left out.
    """
    made = []
    for name, values in samples.items():
        known = [x for x in values if x is not None]
        if not known:
            continue
        quotients = [x / y if more_is_better else y / x for x, y in zip(values, samples.get(peer or "", [])) if x and y]
        ratio = median(quotients) if quotients else None
        made.append(Row(bench, workload, name, median(known), unit, min(known), max(known), ratio))
    return made


def fastest(samples: Samples, names: Sequence[str], *, more_is_better: bool) -> str | None:
    """Which of ``names`` has the best median; None where none of them was measured."""
    known = {name: [x for x in samples[name] if x is not None] for name in names if name in samples}
    medians = {name: median(values) for name, values in known.items() if values}
    return (max if more_is_better else min)(medians, key=medians.__getitem__) if medians else None


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned columns that are Markdown as well."""
    cells = [("bench", "workload", "name", "median", "low", "high", "unit", "ratio")]
    for r in rows:
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}x"
        cells.append((r.bench, r.workload, r.name, *map(number, (r.value, r.low, r.high)), r.unit, ratio))
    widths = [max(map(len, column)) for column in zip(*cells)]
    aligned = [str.ljust] * 3 + [str.rjust] * 3 + [str.ljust, str.rjust]
    lines = ["| " + " | ".join(a(c, w) for a, c, w in zip(aligned, line, widths)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if a is str.ljust else ":") for a, w in zip(aligned, widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def number(x: float) -> str:
    """Three significant digits at least, thousands separated."""
    if x == 0 or 0.01 <= abs(x) < 100:
        return f"{x:.3g}"
    return f"{x:.1e}" if abs(x) < 0.01 else f"{x:,.0f}"


def write(rows: Sequence[Row], path: Path) -> None:
    """A JSON list with one object a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")


def machine() -> str:
    """One line about where this was measured. The load is that of *other* programs when asked before the start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} before the start" if hasattr(os, "getloadavg") else ""
    return f"{_cpu()}, {cores} cores{load}, {platform.system()}, Python {platform.python_version()}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(*distributions: str) -> dict[str, str | None]:
    """The installed version of each; None where it is not installed."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {name: version(name) for name in distributions}
