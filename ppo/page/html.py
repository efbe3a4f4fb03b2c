"""The page as one HTML text: styles, script, data and tables within; nothing in it is fetched, or could be."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from ppo.logging.base import visible
from ppo.logging.files import write_atomically
from ppo.page.chart import When, shown

SCRIPTS = ("uplot.js", "tools.js", "hover.js", "curves.js", "rows.js", "page.js")
LONG = 40  # letters of a cell that is broken into lines
CHARTS = '<div id="controls"></div><div id="charts"></div><noscript><p>The curves need JavaScript.</p></noscript>'


def page(title: str, parts: Iterable[str], data: Mapping) -> str:
    """The whole page. ``parts``: HTML, of which one is ``CHARTS``; ``data``: what ``chart.encoded`` gives.

    The policy in its head lets the browser run this script and no other, and load nothing from anywhere.
    """
    script, styles = _script(), _asset("uplot.css") + _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    )
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{styles}</style>"
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n<main>\n{body}\n</main>\n'
        f'<script type="application/json" id="data">{embedded(data)}</script>\n<script>{script}</script>\n</body></html>\n'
    )


def framed(content: str, *, height: int = 640) -> str:
    """A page within a notebook's, apart from its styles, and without a way to reach it. ``height``: in pixels."""
    style = f"width:100%;height:{height}px;border:0"
    return f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{html.escape(content)}"></iframe>'


def write(path: Path, content: str) -> None:
    """Write a page as UTF-8, whatever the machine's own encoding is. A file name may hold bytes that are no letters."""
    write_atomically(path, content.encode("utf-8", "backslashreplace"))


def jsonable(value):
    """``value`` for JSON: tuples as lists, what is not finite as null."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def embedded(data: Mapping) -> str:
    """JSON that may stand within ``<script>``: no letter in it can end the element or begin another."""
    written = json.dumps(jsonable(data), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def header(title: str, about: str) -> str:
    """The title, the switch between dark and light, and a line below."""
    switch = '<button type="button" id="theme" title="auto, dark or light" hidden>auto</button>'
    return f'<header><h1>{text(title)}</h1>{switch}</header><p class="about">{text(about)}</p>'


def text(name: object) -> str:
    """A name as HTML shows it letter by letter."""
    return html.escape(visible(str(name)))


def bullets(lines: Sequence[str], *, kind: str = "") -> str:
    """A list; nothing where there are no lines."""
    return f'<ul class="{kind}">' + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>" if lines else ""


def section(title: str, *parts: str, folded: bool | None = None) -> str:
    """A heading and what follows; empty where nothing does. ``folded``: whether a reader has to open it (None: cannot)."""
    if not any(parts):
        return ""
    if folded is None:
        return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"
    return f"<details{'' if folded else ' open'}><summary><h2>{text(title)}</h2></summary>{''.join(parts)}</details>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], whens: Iterable[When] | None = None) -> str:
    """A table that is sorted by a click on a heading. ``whens``: a row each; it is shown where that fits the choices."""
    cells = [[*row] for row in rows]
    if not cells:
        return ""
    marks = (
        [f' data-when="{text(json.dumps(shown(when)))}"' for when in whens] if whens is not None else [""] * len(cells)
    )
    head = "".join(f'<th><button type="button">{text(name)}</button></th>' for name in columns)
    body = "".join(f"<tr{mark}>" + "".join(map(_cell, row)) + "</tr>" for mark, row in zip(marks, cells))
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(content: str) -> str:
    kind = ' class="long"' if len(content) > LONG else ""
    return f"<td{kind}>{text(content)}</td>"


def command(line: str) -> str:
    """A line to type, with a button that copies it."""
    return f'<div class="command"><pre>{text(line)}</pre><button type="button" class="copy">copy</button></div>'


@cache
def _asset(name: str) -> str:
    return (files("ppo.page") / "assets" / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    """All of the script; its own files share one scope, and none of them holds the end of an element."""
    licence = f"/* uPlot\n{_asset('uplot.LICENSE')}*/\n"
    uplot, *own = (_asset(name) for name in SCRIPTS)
    return f'{licence}{uplot}\n(() => {{\n"use strict";\n{"".join(own)}}})();\n'
