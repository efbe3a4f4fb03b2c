"""Charts as data: thinning keeps every spike and every axis, and a big sweep stays a small file."""

import json

import numpy as np
import pytest

from ppo.page.chart import Band, Curves, Line, encoded
from ppo.page.html import embedded
from ppo.page.thin import interpolated, mean_interval, mean_range, thinned


def test_a_short_curve_is_left_as_it_is():
    x, y = np.arange(5.0), np.array([1.0, np.nan, 3.0, -1.0, 0.0])
    for one, other in zip(thinned(x, y, 5), (x, y)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n", [101, 1_000, 4_999])
def test_thinning_keeps_the_ends_of_the_axis_and_each_spike(n):
    rng = np.random.default_rng(n)
    x, y = np.arange(float(n)), rng.normal(size=n)
    y[n // 3], y[n // 2] = 50.0, -60.0
    y[5:9] = np.nan
    thin_x, thin_y = thinned(x, y, 100)
    assert len(thin_x) == len(thin_y) <= 100 and thin_x[0] == 0 and thin_x[-1] == n - 1
    assert (np.diff(thin_x) >= 0).all()
    assert np.nanmax(thin_y) == 50 and np.nanmin(thin_y) == -60
    np.testing.assert_array_equal(thin_x, thinned(x, rng.normal(size=n), 100)[0])  # another run, the same axis


def test_what_is_not_there_at_all_stays_a_gap():
    _, y = thinned(np.arange(100.0), np.full(100, np.nan), 10)
    assert np.isnan(y).all()


def test_mean_and_interval_by_hand():
    values = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]])
    mean, low, high = mean_interval(values)
    np.testing.assert_allclose(mean, [2, 2, np.nan])
    half = 12.706204736 * np.sqrt(2) / np.sqrt(2)  # t of one degree of freedom times std / sqrt(n)
    np.testing.assert_allclose([low[0], high[0]], [2 - half, 2 + half], rtol=1e-8)
    assert np.isnan([*low[1:], *high[1:]]).all()  # of one run there is no interval
    np.testing.assert_array_equal(mean_range(values)[1:], [[1, 2, np.nan], [3, 2, np.nan]])


def test_runs_meet_on_one_grid_and_end_where_they_end():
    grid, values = interpolated([(np.array([0.0, 2.0]), np.array([0.0, 4.0])), (np.array([1.0]), np.array([7.0]))])
    np.testing.assert_array_equal(grid, [0, 1, 2])
    np.testing.assert_array_equal(values, [[0, 2, 4], [np.nan, 7, np.nan]])


def test_a_sweep_of_ten_arms_ten_seeds_and_five_hundred_points_is_below_two_megabytes():
    rng = np.random.default_rng(0)
    axis, grid = np.arange(1, 501) * 4096.0, np.arange(200) * 10_000.0
    charts = []
    for number in range(6):  # two curves and four panels
        lines = [Line(f"seed {i}", axis, 1e3 * rng.normal(size=500), "a0", i % 10, "thin") for i in range(100)]
        bands = [Band("mean", grid, *rng.normal(size=(3, 200)), colour="a0", arm=i) for i in range(10)]
        charts.append(Curves(f"chart {number}", "steps", lines, bands))
    found = encoded(charts)
    assert len(embedded(found)) < 1_900_000
    assert len(found["xs"]) == 2  # the runs share one axis and the means another
    few = encoded([Curves("one", "steps", charts[0].lines[:3])])
    assert few["charts"][0]["lines"][0]["y"] == pytest.approx(charts[0].lines[0].y, rel=1e-4)


def test_numbers_are_plain_and_what_is_not_finite_is_null():
    given = [0.1234567, -1234567.8, 0, 1e-9, np.nan, -np.inf, 99999.7, 0.3, 1e300, 5e-324, 2.5]
    line = Line("x", np.arange(11) + 0.5, np.array(given), "a0")
    found = json.loads(embedded(encoded([Curves("t", "x", [line])])))
    wanted = [0.12346, -1234600, 0, 1e-9, None, None, 100000, 0.3, 1e300, 5e-324, 2.5]
    assert found["charts"][0]["lines"][0]["y"] == wanted and found["xs"][0][:2] == [0.5, 1.5]
    assert "0.3," in embedded(found) and "100000," in embedded(found)  # no digits of rounding, no .0
