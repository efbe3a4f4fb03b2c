"""The picture of return over distance, from the table that a comparison writes."""

import sys

import pytest

from scripts import plot_distance, plot_run, results

HEAD = "env,arm,method,match_kl,endpoint,n,failed,"
HEAD += "kl/final mean,kl/final low,kl/final high,return mean,return low,return high,marked"


@pytest.fixture
def table(tmp_path):
    rows = [
        f"ant,m={m} match_kl={kl},m={m},{kl},eval/final,5,0,{kl},{kl},{kl},{value},{value - 9},{value + 9},"
        for kl in ("0.01", "0.005")
        for m, value in (("spo", 500.0), ("ppo", 700.0))
    ]
    file = tmp_path / "distance.csv"
    file.write_text("\n".join([HEAD, *rows, ""]))
    return file


def test_a_panel_a_distance_and_the_best_method_on_top(table, tmp_path, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    assert plot_distance.main([str(table), "--out", str(tmp_path / "x.png")]) == 0
    monkeypatch.undo()
    near, far = figures[0].axes
    assert near.get_title().startswith("target 0.005") and far.get_title().startswith("target 0.01")
    assert [label.get_text() for label in near.get_yticklabels()] == ["m=spo", "m=ppo"]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    plt.close(figures[0])


@pytest.mark.parametrize(
    ("content", "words", "named"),
    [("a,b\n1,2\n", [], "no table of distances"), ("", [], "no table"), (None, ["--env", "hopper"], "choose from ant")],
)
def test_another_table_or_environment_is_one_line(table, tmp_path, capsys, content, words, named):
    if content is not None:
        table.write_text(content)
    assert plot_distance.main([str(table), *words, "--out", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert named in said and said.count("\n") == 1


@pytest.mark.parametrize("script", [plot_distance, plot_run, results], ids=lambda module: module.__name__)
def test_without_matplotlib_the_line_says_what_to_install(table, tmp_path, monkeypatch, capsys, script):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    curves = tmp_path / "curves.csv"
    curves.write_text("env,arm,seed,step,return\nToy-v0,a,1,1,2\n")
    out = str(tmp_path / "x.png")
    given = {plot_run: [str(tmp_path / "run"), "--out", out], results: [str(curves), "--picture", out]}
    assert script.main(given.get(script, [str(table), "--out", out])) == 2
    assert "needs an extra: " in capsys.readouterr().err
