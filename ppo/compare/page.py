"""report.html: the whole of a comparison in one file that opens from disk and fetches nothing."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ppo.compare.printed import visible
from ppo.compare.report import (
    ARM_COLUMNS,
    PAIR_COLUMNS,
    STABILITY_COLUMNS,
    arm_cells,
    commands,
    descriptive,
    pair_cells,
    rollbacks,
    sentences,
    stability_cells,
)
from ppo.logging.files import write_atomically

CAPTIONS = {
    "curves": "Learning curves: every seed, the mean, and its pointwise interval (t, over seeds).",
    "final": "Final window: every seed, mean and interval. A cross is a failed run.",
    "improvement": "Probability of improvement P(A > B) with Newcombe's interval; one half is no difference.",
    "profile": "Performance profile: share of runs above a score, returns scaled to the range of each environment.",
    "panels": "KL(old‖new) after each update over its bands, clip fraction, entropy, epochs done: mean and range of seeds.",
}


def write_page(verdict: dict, pictures: Mapping[str, Path], path: Path, *, title: str) -> None:
    """Write ``page`` as UTF-8, whatever the machine's own encoding is."""
    write_atomically(path, page(verdict, pictures, title=title).encode("utf-8", "backslashreplace"))


def page(verdict: dict, pictures: Mapping[str, Path], *, title: str) -> str:
    """The whole report as one HTML text: styles and pictures within."""
    parts = [f"<h1>{_text(title)}</h1>"]
    parts.append(_list(sentences(verdict)) or "<p>One arm: nothing to compare it with.</p>")
    if lines := descriptive(verdict):
        parts.append(
            f"<h2>Beside {_text(verdict['primary'])}: descriptive, since several were looked at</h2>" + _list(lines)
        )
    if lines := rollbacks(verdict):
        parts.append("<h2>Take back</h2>" + _list(lines))
    if lines := commands(verdict):
        parts.append("<h2>More seeds</h2>" + "".join(f"<pre>{_text(line)}</pre>" for line in lines))
    if verdict["failures"]:
        columns = ("env", "arm", "seed", "reason", "source")
        parts.append(
            "<h2>Failed runs</h2>" + _table(columns, [[str(r[k]) for k in columns] for r in verdict["failures"]])
        )
    if verdict["notes"]:
        parts.append("<h2>Notes</h2>" + _list(verdict["notes"]))
    for name, path in pictures.items():
        data = base64.b64encode(path.read_bytes()).decode()
        caption = _text(CAPTIONS[name])
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    parts.append("<h2>Pairs</h2>" + _table(PAIR_COLUMNS, map(pair_cells, verdict["pairs"])))
    parts.append("<h2>Arms</h2>" + _table(ARM_COLUMNS, map(arm_cells, verdict["arms"])))
    parts.append("<h2>Stability</h2>" + _table(STABILITY_COLUMNS, map(stability_cells, verdict["stability"])))
    head = f'<meta charset="utf-8"><title>{_text(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _text(name: str) -> str:
    return html.escape(visible(name))


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
li { overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #8884 }
figure { margin: 2rem 0 } img { max-width: 100%; background: #fff } figcaption { font-size: 13px; opacity: .75 }
pre { overflow-x: auto; padding: .6rem; background: #8882 }
"""
