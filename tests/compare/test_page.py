"""The report of a comparison: its curves are the runs' own, its rows the verdict's, and its verdict comes first."""

import numpy as np
import pytest

from ppo.compare import page, stats
from ppo.compare.charts import arms, charts
from ppo.compare.compare import compare
from ppo.page.thin import mean_interval
from tests.page.reader import Read, data_of, sources


@pytest.fixture
def comparison(trial, monkeypatch):
    """Two arms of five seeds in two environments; one run failed, arm b is clearly higher in the first
    and the same in the second."""
    monkeypatch.setattr(stats, "permutation", lambda *_, **__: 0.5)  # slow, and not what is looked at
    runs = [
        trial(arm, seed, seed, 2 * seed + 50 * (arm == "b" and env == "one"), env=env, failed=died)
        for env in ("one", "two")
        for arm in "ab"
        for seed in range(1, 6)
        for died in ["it crashed" if (env, arm, seed) == ("one", "a", 4) else None]
    ]
    return compare(runs, baseline="a")


def test_every_curve_is_a_run_and_every_mean_that_of_its_arm(comparison):
    drawn = [chart for chart in charts(comparison) if chart.title == "one: return"]
    (chart,) = drawn
    assert [line.name for line in chart.lines[:5]] == ["seed 1", "seed 2", "seed 3", "seed 4, failed", "seed 5"]
    np.testing.assert_array_equal(chart.lines[6].y, [2, 54])  # arm b, seed 2
    assert [line.arm for line in chart.lines] == [0] * 5 + [1] * 5
    np.testing.assert_allclose(chart.bands[1].middle, [3, 56])
    low = mean_interval(np.array([[52.0], [54], [56], [58], [60]]))[1]
    np.testing.assert_allclose(chart.bands[1].low[1:], low)


def test_the_rows_are_the_numbers_of_the_verdict(comparison):
    found = {(chart.title, *chart.when["endpoint"]): chart for chart in charts(comparison)}
    a, b = found["one: return/final", "return/final"].rows
    assert [dot.failed for dot in a.dots] == [False, False, False, True, False]
    assert a.dots[3].x == 2 and [dot.x for dot in b.dots] == [52, 54, 56, 58, 60]  # failed: the lowest of all
    (pair,) = found["one: probability of improvement", "return/final"].rows
    row = comparison.verdict["pairs"][0]
    assert (pair.label, pair.middle, pair.low) == ("b > a", 1.0, row["superiority"]["ci"][0])
    profile = found["performance profile, return/final", "return/final"].bands[1]
    # Above a third of the range of its environment: in one all five of b, in two (2 to 10) seeds 3, 4, 5.
    assert profile.middle[33] == pytest.approx((1 + 3 / 5) / 2)


def test_the_page_says_the_verdict_first_and_holds_all_of_it(comparison):
    content = page.of(comparison)
    read, data = Read(content), data_of(content)
    cards = [text for text in read.within("p") if text.startswith(("one, ", "two: "))]
    assert "b is higher than a" in cards[0] and "are the same run" in cards[1]
    assert content.index(cards[0][:20]) < content.index('id="charts"') < content.index("<table>")
    assert [choice["options"] for choice in data["choices"]] == [["one", "two"], ["return/final", "return/auc"]]
    assert [arm["name"] for arm in data["arms"]] == arms(comparison) == ["a", "b"]
    assert "it crashed" in read.within("td") and sources(content) == []


def test_a_notebook_gets_the_curves_without_the_tables(comparison):
    read = Read(page.curves_of(comparison))
    assert "table" not in [tag for tag, _ in read.elements] and len(data_of(page.curves_of(comparison))["charts"]) > 4
