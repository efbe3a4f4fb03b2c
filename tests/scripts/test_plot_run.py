"""The picture of runs: what there is, and a word where there is nothing."""

import json

import matplotlib.pyplot as plt

from scripts.plot_run import plot


def test_a_panel_without_numbers_says_so_and_names_are_names(tmp_path, monkeypatch):
    (run := tmp_path / "a$b$_[c]").mkdir()
    rows = [{"update": i, "env_steps": 64 * i, "train/return": float(i), "kl/final": 0.01} for i in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    plot([run], tmp_path / "new" / "runs.png")
    monkeypatch.undo()
    returns, _, variance, _ = figures[0].axes
    assert returns.get_ylim()[1] > 1.9 and len(returns.lines) == 1
    assert [text.get_text() for text in variance.texts] == ["no value/explained_variance in these runs"]
    assert (tmp_path / "new" / "runs.png").read_bytes().startswith(b"\x89PNG") and len([*tmp_path.glob("new/*")]) == 1
    plt.close(figures[0])
