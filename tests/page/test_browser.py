"""The page in Chromium, where there is one: its script comes to its end, in a wide window and on a telephone."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from ppo.page.chart import Band, Choice, Curves, Dot, Line, Row, Rows, encoded
from ppo.page.html import CHARTS, header, page, section, table

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET += ("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=4000", "--dump-dom")
NAME = "</script><b>&" + "x" * 200


def example() -> str:
    """A page with every kind of chart: gaps, one point, nothing, bands, steps, rows."""
    x, gap = np.arange(1, 6) * 1e5, np.array([1.0, np.nan, 3.0, 2.0, np.nan])
    one, nothing = np.array([5.0]), np.array([])
    charts = [
        Curves(NAME, "steps", [Line("a", x, gap, "a0", 0, "thin"), Line("b", one, one, "a1", 1, style="dots")]),
        Curves("bands", "steps", [], [Band("mean", x, gap, gap - 1, gap + 1, "a0", 0, step=True)], when={"k": ["one"]}),
        Curves("kl", "steps", [Line("kl", x, np.abs(gap) / 100, "faint")], scale="kl"),
        Curves("log", "steps", [Line("loss", x, gap, "plain")], scale="log"),
        Curves("empty", "steps", [Line("none", nothing, nothing, "plain")]),
        Rows("rows", "x", [Row(NAME, "a0", [Dot(1.0, "seed 1"), Dot(2.0, "seed 2", True)], 1.5, 1.0, np.nan, [0])]),
        Rows("no rows", "x", []),
        Curves("another", "steps", [Line("c", x, x, "a0", 0)], when={"k": ["two"]}),
    ]
    data = encoded(charts, arms=[NAME, "b"], choices=[Choice("k", "switch", ["one", "two"])])
    rows = [[NAME, "-1,234", "0.5"], ["b", "–", "12 to 34"]]
    return page(NAME, [header(NAME, "about"), CHARTS, section("t", table(["a", "b", "c"], rows))], data)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 360])
def test_the_script_comes_to_its_end_and_nothing_is_wider_than_the_window(tmp_path, width):
    (tmp_path / "page.html").write_text(example(), encoding="utf-8")
    # A window has a least width, a frame has none; what the frame found is said by its title.
    frame = f'<iframe id="f" src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
    asks = "f.onload = () => { const d = f.contentDocument; document.title = [d.body.dataset.drawn, "
    asks += "d.documentElement.scrollWidth, d.querySelectorAll('canvas').length]; }"
    (tmp_path / "frame.html").write_text(f"<title></title>{frame}<script>{asks}</script>")
    command = [str(BROWSER), *QUIET, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1400,1000", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    (found,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    charts, wide, canvases = map(int, found.split(","))
    assert charts == 7 and wide <= width and canvases == 10  # five of curves, each with one above it
