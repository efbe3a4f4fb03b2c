"""The page in Chromium, where there is one, in a wide window and on a telephone."""

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
        Curves(
            NAME,
            "steps",
            [Line("a", x, gap, "a0", 0, "thin"), Line("b", one, one, "a1", 1, style="rings")],
            [Band("mean", x, gap, gap - 1, gap + 1, "a0", 0, step=True)],
            group="steps",
        ),
        Curves("bands", "steps", [], [Band("mean", x, gap, gap - 1, gap + 1, "a0")], when={"k": ["one"]}),
        Curves("kl", "steps", [Line("kl", x, np.abs(gap) / 100, "faint")], scale="kl"),
        Curves("log", "steps", [Line("loss", x, gap, "plain")], scale="log"),
        Curves("empty", "steps", [Line("none", nothing, nothing, "plain")]),
        Rows("rows", "x", [Row(NAME, "a0", [Dot(1.0, "seed 1"), Dot(2.0, "seed 2", True)], 1.5, 1.0, np.nan, [0])]),
        Rows("no rows", "x", []),
        Curves("another", "steps", [Line("c", x, x, "a0", 0)], group="steps", when={"k": ["two"]}),
    ]
    data = encoded(charts, arms=[NAME, "b"], choices=[Choice("k", "switch", ["one", "two"])])
    rows = [["b", "–", "12 to 34"], [NAME, "-1,234", "0.5"], ["c", "5", "a"]]
    return page(NAME, [header(NAME, "about"), CHARTS, section("t", table(["a", "b", "c"], rows))], data)


DOES = """
f.onload = () => {
  const [d, w] = [f.contentDocument, f.contentWindow], found = [d.body.dataset.drawn];
  const over = d.querySelector(".u-over"), at = { target: over, clientY: 0 };
  const fingers = (kind, xs) => over.dispatchEvent(new w.TouchEvent(kind, {
    cancelable: true, touches: xs.map((clientX, identifier) => new w.Touch({ ...at, clientX, identifier })) }));
  fingers("touchstart", [120, 180]);
  fingers("touchmove", [90, 210]);
  found.push(d.body.classList.contains("zoomed"));
  d.querySelectorAll(".segments button")[1].click();
  found.push([...d.querySelectorAll("figure")].filter((figure) => !figure.hidden).length);
  d.querySelector(".chip").click();
  found.push([...d.querySelectorAll(".row")].filter((row) => !row.hidden).length);
  d.querySelector(".whole").click();
  d.getElementById("theme").click();
  found.push(d.body.classList.contains("zoomed"), getComputedStyle(d.body).backgroundColor.replaceAll(" ", ""));
  for (const times of [1, 2]) d.querySelectorAll("th")[1].click();
  found.push([...d.querySelectorAll("tbody tr")].map((row) => row.cells[1].textContent).join("|"));
  found.push(d.documentElement.scrollWidth);
  document.title = found.join(" ");
};
"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 360])
def test_it_draws_zooms_switches_hides_and_sorts(tmp_path, width):
    (tmp_path / "page.html").write_text(example(), encoding="utf-8")
    # A window has a least width, a frame has none; what was found in the frame is said by the title around it.
    frame = f'<iframe id="f" src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
    (tmp_path / "frame.html").write_text(f"<title></title>{frame}<script>{DOES}</script>")
    command = [str(BROWSER), *QUIET, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1400,1000", (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    (found,) = re.findall(r"<title>(.*?)</title>", done.stdout)
    drawn, zoomed, charts, rows, zoomed_still, paper, column, wide = found.split(" ")
    assert (drawn, zoomed, charts, rows, zoomed_still) == ("7", "true", "7", "0", "false")
    assert paper == "rgb(21,24,28)" and column == "5|-1,234|–" and int(wide) <= width
