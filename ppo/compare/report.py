"""What a comparison leaves: verdict.json, tables on the console, and report.html that opens from disk."""

import base64
import html
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ppo.compare.sentence import number
from ppo.logging.files import write_atomically

ARM_COLUMNS = ("env", "arm", "endpoint", "n", "failed", "mean", "std", "se", "median", "iqm", "iqm_ci", "min", "max")
PAIR_COLUMNS = ("env", "endpoint", "a", "b", "difference", "welch ci", "p_holm", "g", "P(A > B)", "mde_80", "verdict")
STABILITY_COLUMNS = (
    *("env", "arm", "updates", "kl_spikes", "early_stops", "nonfinite", "loss_policy_variance"),
    *("loss_value_variance", "wall_clock", "rollback"),
)
CAPTIONS = {
    "curves": "Learning curves: every seed, the mean, and its pointwise interval (t, over seeds).",
    "final": "Final window: every seed, mean and interval. A cross is a failed run.",
    "improvement": "Probability of improvement P(A > B) with Newcombe's interval; one half is no difference.",
    "profile": "Performance profile: share of runs above a score, returns scaled to the range of each environment.",
    "panels": "KL(old‖new) after each update over its bands, clip fraction, entropy, epochs done: mean and range of seeds.",
}


def plain(value):
    """For JSON: tuples as lists, what is not finite as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(verdict: dict, path: Path) -> None:
    """Write whole or not at all: another program may be waiting for it."""
    write_atomically(path, json.dumps(plain(verdict), indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def arm_cells(row: dict) -> list[str]:
    return [
        *(row[k] for k in ARM_COLUMNS[:3]),
        str(row["n"]),
        str(row["failed"]),
        *map(_cell, (row[k] for k in ARM_COLUMNS[5:])),
    ]


def pair_cells(row: dict) -> list[str]:
    test = row.get("sequential") or row["welch"]
    measures = (row["difference"], test["ci"], test["p_holm"], row["hedges_g"], row["superiority"]["p"], row["mde_80"])
    return [*(row[k] for k in PAIR_COLUMNS[:4]), *map(_cell, measures), row["verdict"]]


def stability_cells(row: dict) -> list[str]:
    reasons = "–" if row["rollback"] is None else "; ".join(row["rollback"]) or "no reason"
    return [
        row["env"],
        row["arm"],
        str(row["updates"]),
        *map(_cell, (row[k] for k in STABILITY_COLUMNS[3:-1])),
        reasons,
    ]


def _cell(value) -> str:
    if isinstance(value, tuple):
        return f"{_cell(value[0])} to {_cell(value[1])}" if math.isfinite(value[0]) else "–"
    return "–" if math.isnan(value) else number(value)


def show(verdict: dict, console: Console) -> None:
    """Print the tables, the sentences, and what to watch out for."""
    _print_table(console, "Arms", ARM_COLUMNS, map(arm_cells, verdict["arms"]))
    if verdict["pairs"]:
        test = "always valid" if verdict["sequential"] else "Welch"
        _print_table(console, f"Pairs: a minus b, {test}, Holm", PAIR_COLUMNS, map(pair_cells, verdict["pairs"]))
    if any(row["updates"] for row in verdict["stability"]):
        _print_table(console, "Stability", STABILITY_COLUMNS, map(stability_cells, verdict["stability"]))
    for row in verdict["pairs"]:
        console.print(f"• {row['sentence']}", markup=False, highlight=False, soft_wrap=True)
    for line in rollbacks(verdict):
        console.print(f"! {line}", markup=False, highlight=False, soft_wrap=True)
    for row in verdict["failures"]:
        line = f"failed: {row['env']}, {row['arm']}, seed {row['seed']}: {row['reason']} ({row['source']})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for note in verdict["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for line in commands(verdict):
        console.print(f"more seeds: {line}", markup=False, highlight=False, soft_wrap=True)


def rollbacks(verdict: dict) -> list[str]:
    flagged = [row for row in verdict["stability"] if row["rollback"]]
    return [
        f"{row['env']}: take {row['arm']} back: {'; '.join(row['rollback'])} (against {row['against']})"
        for row in flagged
    ]


def commands(verdict: dict) -> list[str]:
    """The commands that add seeds, of the final endpoints: a person looks at those first."""
    final = [row for row in verdict["pairs"] if row["endpoint"] in ("eval/final", "return/final")]
    return list(dict.fromkeys(line for row in final or verdict["pairs"] for line in row["more_seeds"]))


def _print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[list[str]]) -> None:
    cells = list(rows)
    if len({row[0] for row in cells}) == 1:  # one environment: in the title, not in every row
        title, columns, cells = f"{title} ({cells[0][0]})", columns[1:], [row[1:] for row in cells]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column, values in zip(columns, zip(*cells)):
        table.add_column(
            column, justify="right" if all(not v or v[0] in "-–0123456789" for v in values) else "left", overflow="fold"
        )
    for row in cells:
        table.add_row(*row)
    console.print(table)
    console.print()


def page(verdict: dict, plots: dict[str, Path], *, title: str) -> str:
    """The whole report as one HTML text: styles and pictures within, nothing fetched."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts.append(_list([row["sentence"] for row in verdict["pairs"]]) or "<p>One arm: nothing to compare it with.</p>")
    if lines := rollbacks(verdict):
        parts.append("<h2>Take back</h2>" + _list(lines))
    if lines := commands(verdict):
        parts.append("<h2>More seeds</h2>" + "".join(f"<pre>{html.escape(line)}</pre>" for line in lines))
    if verdict["failures"]:
        rows = [[*(str(row[k]) for k in ("env", "arm", "seed", "reason", "source"))] for row in verdict["failures"]]
        parts.append("<h2>Failed runs</h2>" + _table(("env", "arm", "seed", "reason", "run"), rows))
    if verdict["notes"]:
        parts.append("<h2>Notes</h2>" + _list(verdict["notes"]))
    for name, path in plots.items():
        data = base64.b64encode(path.read_bytes()).decode()
        caption = html.escape(CAPTIONS[name])
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    parts.append("<h2>Pairs</h2>" + _table(PAIR_COLUMNS, map(pair_cells, verdict["pairs"])))
    parts.append("<h2>Arms</h2>" + _table(ARM_COLUMNS, map(arm_cells, verdict["arms"])))
    parts.append("<h2>Stability</h2>" + _table(STABILITY_COLUMNS, map(stability_cells, verdict["stability"])))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #8884 }
figure { margin: 2rem 0 } img { max-width: 100%; background: #fff } figcaption { font-size: 13px; opacity: .75 }
pre { overflow-x: auto; padding: .6rem; background: #8882 }
"""
