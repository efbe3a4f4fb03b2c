"""The page as a browser reads it: nothing is fetched, and no name is anything but letters."""

import base64
import hashlib
import json
import re
from importlib.resources import files

import numpy as np
import pytest

from ppo.page.chart import Choice, Curves, Dot, Line, Row, Rows, encoded
from ppo.page.html import CHARTS, bullets, command, embedded, framed, header, page, section, table
from tests.page.reader import Read, data_of, sources

NASTY = "</script><script>alert(1)</script><!-- &amp; \u2028 \"'\x1b"
UPLOT = (
    "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"  # dist/uPlot.iife.min.js of uplot 1.6.32 on npm
)
STEPS = np.array([1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def nasty():
    """A page in which everything that can be named is called ``NASTY``."""
    lines = [Line(NASTY, STEPS, np.array([1.0, np.nan, 0.125]), "a0", 0)]
    rows = [Row(NASTY, "a0", [Dot(1.0, NASTY)], 1.0, 0.5, np.inf, [0])]
    charts = [Curves(NASTY, NASTY, lines, note=NASTY, when={"env": [NASTY]}), Rows(NASTY, NASTY, rows)]
    data = encoded(charts, arms=[NASTY], choices=[Choice("env", "environment", [NASTY], all="all")])
    parts = [header(NASTY, NASTY), CHARTS, section(NASTY, bullets([NASTY]), command(NASTY))]
    parts.append(section("t", table([NASTY], [[NASTY]], [{"env": [NASTY]}]), folded=True))
    return page(NASTY, parts, data)


def test_every_element_is_closed_and_a_name_opens_none(nasty):
    read = Read(nasty)
    assert read._open == [""]
    assert [tag for tag, _ in read.elements].count("script") == 2
    for tag in ("title", "h1", "h2", "li", "pre", "td"):
        assert NASTY.replace("\x1b", "\\x1b") in read.within(tag), tag


def test_nothing_is_fetched_and_nothing_could_be(nasty):
    elements = Read(nasty).elements
    assert sources(nasty) == [] and not {"link", "iframe", "base", "object"} & {tag for tag, _ in elements}
    styles = Read(nasty).within("style")[0]
    assert "@import" not in styles and "url(" not in styles
    (policy,) = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "unsafe-eval" not in policy


def test_the_browser_is_told_to_run_this_script_alone(nasty):
    script = re.search(r"<script>(.*?)</script>", nasty, re.S)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in nasty


def test_the_data_come_back_as_they_were(nasty):
    data = data_of(nasty)
    curves, rows = data["charts"]
    assert data["xs"][curves["lines"][0]["x"]] == [1, 2, 3] and curves["lines"][0]["y"] == [1, None, 0.125]
    assert rows["rows"][0]["interval"] == [0.5, None] and rows["rows"][0]["dots"] == [[1, rows["title"], False]]
    assert data["choices"][0]["options"] == curves["when"]["env"] == [NASTY.replace("\x1b", "\\x1b")]


def test_a_row_of_a_table_is_shown_by_the_letters_of_the_switch(nasty):
    (row,) = [attributes for tag, attributes in Read(nasty).elements if tag == "tr" and "data-when" in attributes]
    assert json.loads(row["data-when"])["env"] == [NASTY.replace("\x1b", "\\x1b")]


def test_what_is_embedded_holds_no_tag_and_no_nan():
    written = embedded({"a": ["</script>", "<!--", float("nan"), "&lt;"], "b": (1.5, float("inf"))})
    assert not {"<", ">", "&"} & {*written}
    assert json.loads(written) == {"a": ["</script>", "<!--", None, "&lt;"], "b": [1.5, None]}


def test_an_empty_section_is_not_there():
    assert section("nothing", bullets([]), table(["a"], [])) == ""


def test_a_page_within_a_notebook_is_one_attribute(nasty):
    ((tag, attributes),) = Read(framed(nasty)).elements
    assert (
        tag == "iframe"
        and attributes["srcdoc"] == nasty.replace("\r", "")
        and "allow-same-origin" not in attributes["sandbox"]
    )


def test_the_library_is_the_one_that_was_published():
    assets = files("ppo.page") / "assets"
    assert hashlib.sha256((assets / "uplot.js").read_bytes()).hexdigest() == UPLOT
    assert "MIT" in (assets / "uplot.LICENSE").read_text()
    assert "</script" not in "".join((assets / name).read_text() for name in ("uplot.js", "page.js", "curves.js"))
