"""What a curve says of its run: what was not logged, what is NaN, what was logged twice, and what failed."""

import math

import pytest

from ppo.compare.trial import CompareError, logged, resumed, without_ends

NAN, INF = math.nan, math.inf


def steps_and_values(read) -> list[tuple[float, float]]:
    return list(zip(*(part.tolist() for part in read.curve), strict=True))


def test_a_nan_inside_is_a_place_without_a_value_and_noted():
    read = logged([(1, 5.0), (2, NAN), (3, 7.0)])
    assert steps_and_values(read) == [(1, 5.0), (3, 7.0)]
    assert read.failed is None and read.notes == ("1 of 3 values of return are NaN, the first at step 2",)


@pytest.mark.parametrize(
    "points, reason",
    [
        ([(1, 5.0), (2, NAN)], "its last return, at step 2, is NaN"),
        ([(1, -INF), (2, 5.0)], "its return at step 1 is -inf"),
        ([(1, 1e150), (2, 5.0)], "its return at step 1 is 1e+150"),
        ([(1, NAN)], "its last return, at step 1, is NaN"),
        ([], "it logged no return"),
    ],
)
def test_what_counts_as_failed_has_its_reason(points, reason):
    assert logged(points).failed == reason


def test_rows_that_a_resumed_run_repeats_count_once_and_the_later_ones():
    first = [(10 * i, float(i)) for i in range(1, 13)]
    again = [(10 * i, -float(i)) for i in range(11, 21)]
    points, dropped = resumed(first + again)
    assert points == first[:10] + again and dropped == 2
    assert "2 rows logged twice" in logged(first + again).notes[0]


def test_a_resumed_run_may_log_at_other_steps_than_before():
    first = [(10 * i, 0.0) for i in range(1, 13)]
    again = [(10 * i + 3, 1.0) for i in range(10, 21)]
    assert resumed(first + again) == (first[:10] + again, 2)


def test_a_table_in_no_order_or_in_parts_loses_no_row():
    rows = [(i, float(i)) for i in range(1, 31)]
    mixed = rows[::2][::-1] + rows[1::2]
    assert resumed(mixed) == (rows, 0) and resumed(rows[15:] + rows[:15]) == (rows, 0)
    assert resumed(rows[::-1]) == (rows, 0)


def test_a_table_sorted_as_text_loses_no_row():
    """100000, 1000000, 200000: as `sort` has them, with fewer ways back than one in ten."""
    rows = [(100_000.0 * i, float(i)) for i in range(1, 51)]
    assert resumed(sorted(rows, key=lambda row: f"{row[0]:.0f}")) == (rows, 0)


def test_two_runs_under_one_seed_are_refused_and_one_run_twice_is_one():
    rows = [(i, float(i)) for i in range(1, 21)]
    assert resumed(rows + rows) == (rows, 20)
    with pytest.raises(CompareError, match="step 1 twice, and so every step: two runs under one seed"):
        resumed(rows + [(step, -value) for step, value in rows])


def ending_at(trial, *ends: list[int]) -> list[str | None]:
    """Why runs of one arm with these steps count as failed."""
    runs = [trial("a", seed, *[1.0] * len(steps)) for seed, steps in enumerate(ends)]
    runs = [
        run._replace(curves={"return": (run.curves["return"][0] * 0 + steps, run.curves["return"][1])})
        for run, steps in zip(runs, ends, strict=True)
    ]
    return [run.failed for run in without_ends(runs)]


def test_a_run_that_ends_early_failed(trial):
    full, short = list(range(100, 1100, 100)), list(range(100, 400, 100))
    assert ending_at(trial, full, short, full[:-1]) == [None, "ends at step 300 of 1,000", None]
    assert ending_at(trial, [1_000_000], [500_000]) == [None, "ends at step 500,000 of 1,000,000"]
    assert ending_at(trial, [500, 1000], [500]) == [None, "ends at step 500 of 1,000"]  # on a grid a row is missing


def test_a_run_whose_next_episode_did_not_fit_did_not_fail(trial):
    """A row an episode, of 9 to 16 steps each, in a budget of 100."""
    assert ending_at(trial, [14, 30, 45, 60, 72, 86, 99], [16, 28, 43, 58, 71, 85], [13, 29, 44]) == [
        None,
        None,
        "ends at step 44 of 99",
    ]
