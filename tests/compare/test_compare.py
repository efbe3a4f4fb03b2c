"""From runs to a verdict: endpoints, failed runs, pairs, stability, sentences."""

import json
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ppo.compare.compare import compare
from ppo.compare.endpoints import auc
from ppo.compare.load import load
from ppo.compare.report import commands, decided_at, sentences
from ppo.compare.sentence import more_seeds, number, with_seeds
from ppo.compare.trial import CompareError
from ppo.run.folder import final

A, B = [3.0, 1.0, 4.0, 1.5, 5.0], [9.0, 7.0, 6.5, 8.0, 9.5]


def arms(trial, a=A, b=B):
    """Two arms, one evaluation a run."""
    return [trial("a", i, value) for i, value in enumerate(a)] + [trial("b", i, value) for i, value in enumerate(b)]


def only(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_endpoints_by_hand():
    steps, values = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 4.0])
    assert auc(steps, values) == pytest.approx((1.0 + 6.0) / 3)
    assert final(values) == 4.0 and final(values, 2) == 3.0
    assert final(np.arange(30.0)) == 28.0  # the last tenth
    assert auc(steps[:1], values[1:2]) == 2.0


@pytest.mark.parametrize(
    ("steps", "worth_"),
    [
        ([500, 990, 1005], 3.0),  # its last one came 5 later than the other arm's
        ([500, 1000, 1030], 2.0),  # 3 % of the steps: it learned longer
        ([500, 997, 1005], 2.0),  # the one before is nearer
        ([500, 900, 1020], 3.0),
    ],
)
def test_a_last_evaluation_that_came_a_rollout_later_counts(table, steps, worth_):
    other = [("e", "a", seed, step, 1.0) for seed in (1, 2) for step in (1, 1001)]
    mine = [("e", "b", seed, step, value) for seed in (1, 2) for step, value in zip([1, *steps], [0, 1, 2, 3])]
    arms = compare(load([table([*other, *mine])])).verdict["arms"]
    assert only(arms, arm="b", endpoint="return/final")["mean"] == worth_


def test_a_foreign_csv_gives_what_scipy_gives(table):
    """Two environments, three arms, seven seeds of 20 points; every number recomputed from the raw arrays."""
    rng = np.random.default_rng(0)
    data = {
        (e, a): rng.normal(i + 2 * j, 1 + i, (7, 20)).cumsum(1) for i, e in enumerate("xy") for j, a in enumerate("pqr")
    }
    rows = [
        (env, arm, seed, 500 * (k + 1), repr(float(value)))
        for (env, arm), runs in data.items()
        for seed, run in enumerate(runs)
        for k, value in enumerate(run)
    ]
    rng.shuffle(rows)
    verdict = compare(load([table(rows)]), baseline="p").verdict
    steps = 500 * np.arange(1, 21)
    measures = {
        "return/final": lambda runs: runs[:, -2:].mean(1),
        "return/auc": lambda runs: np.trapezoid(runs, steps, axis=1) / (steps[-1] - steps[0]),
    }
    for endpoint, measure in measures.items():
        p = []
        for env in "xy":
            for arm in "qr":
                a, b = measure(data[env, arm]), measure(data[env, "p"])
                row = only(verdict["pairs"], env=env, endpoint=endpoint, a=arm, b="p")
                t = scipy_stats.ttest_ind(a, b, equal_var=False)
                interval = t.confidence_interval(row["welch"]["level"])
                p.append((t.pvalue, row["welch"]["p_holm"]))
                assert row["difference"] == pytest.approx(a.mean() - b.mean())
                assert (row["welch"]["t"], row["welch"]["p"], row["welch"]["df"]) == pytest.approx(
                    (t.statistic, t.pvalue, t.df)
                )
                assert row["welch"]["ci"] == pytest.approx((interval.low, interval.high))
                related = scipy_stats.ttest_rel(a, b)
                assert (row["paired"]["t"], row["paired"]["p"]) == pytest.approx((related.statistic, related.pvalue))
                u = scipy_stats.mannwhitneyu(a, b).statistic / 49
                assert row["superiority"]["p"] == pytest.approx(u)
                shuffled = scipy_stats.permutation_test((a, b), lambda x, y: x.mean() - y.mean(), n_resamples=10_000)
                assert row["permutation_p"] == pytest.approx(shuffled.pvalue)  # 3432 shuffles: exact
                summary = only(verdict["arms"], env=env, endpoint=endpoint, arm=arm)
                by_scipy = (
                    7,
                    a.mean(),
                    scipy_stats.tstd(a),
                    scipy_stats.sem(a),
                    np.median(a),
                    scipy_stats.trim_mean(a, 0.25),
                )
                assert [summary[key] for key in ("n", "mean", "std", "se", "median", "iqm")] == pytest.approx(by_scipy)
        order = sorted(p)
        stepped = np.maximum.accumulate([min(1, (4 - i) * raw) for i, (raw, _) in enumerate(order)])
        assert [corrected for _, corrected in order] == pytest.approx(list(stepped))


def test_evaluation_and_training_are_apart(run_folder):
    load_from = [run_folder([1.0, 3.0], kl=kl, seed=seed) for kl in ("exact", "k1") for seed in (1, 2)]
    verdict = compare(load(load_from), by=["kl"]).verdict
    means = {row["endpoint"]: row["mean"] for row in verdict["arms"] if row["arm"] == "kl=exact"}
    assert means == {"eval/final": 3.0, "eval/auc": 2.0, "train/final": -97.0, "train/auc": -98.0}


def test_the_window_is_as_many_points_as_asked_for(trial):
    runs = [trial(arm, seed, 1.0, 2.0, 6.0) for arm in "ab" for seed in range(2)]
    assert only(compare(runs, window=2).verdict["arms"], arm="a", endpoint="return/final")["mean"] == 4.0
    with pytest.raises(CompareError, match="--window 4: x has only 3 points"):
        compare(runs, window=4)


@pytest.mark.parametrize("status", ["failed", "running"])
def test_a_run_that_did_not_finish_counts_as_the_lowest(run_folder, status):
    """It had reached 50, the best of all: dropped or taken as it was it would flatter its arm."""
    folders = [run_folder([value], kl="exact", seed=seed) for seed, value in enumerate([10.0, 12.0], start=1)]
    folders += [run_folder([value], kl="k1", seed=seed) for seed, value in enumerate([4.0, 20.0], start=1)]
    folders += [run_folder([50.0], kl="k1", seed=3, status=status)]
    verdict = compare(load(folders), by=["kl"]).verdict
    row = only(verdict["arms"], arm="kl=k1", endpoint="eval/final")
    assert (row["n"], row["failed"], row["mean"]) == (3, 1, pytest.approx(28 / 3))
    assert verdict["failures"][0]["seed"] == 3 and only(verdict["pairs"], endpoint="eval/final")["n_b"] == 3


def test_a_run_that_died_before_its_first_row_counts_too(run_folder):
    folders = [run_folder([5.0], seed=1), run_folder([3.0], seed=2), run_folder([], seed=3, status="failed")]
    (folders[2] / "metrics.jsonl").unlink()
    row = only(compare(load(folders), by=["kl"]).verdict["arms"], endpoint="eval/final")
    assert (row["n"], row["failed"], row["mean"]) == (3, 1, pytest.approx(11 / 3))


def test_a_return_that_is_no_number_is_a_failed_run(trial):
    runs = [trial("a", 1, 5.0), trial("a", 2, math.nan), trial("a", 3, 2.0)]
    row = only(compare(runs).verdict["arms"], endpoint="return/final")
    assert (row["n"], row["failed"], row["mean"]) == (3, 1, 3.0)


def test_five_seeds_and_a_clear_gap_decide(trial):
    row = only(compare(arms(trial)).verdict["pairs"], endpoint="return/final")
    assert row["verdict"] == "b is higher" and "a is lower than b by 5.1 (95% interval" in row["sentence"]
    assert row["more_seeds"] == []
    mirrored = compare(arms(trial, B, A)).verdict["pairs"][0]
    assert mirrored["verdict"] == "a is higher" and "a is higher than b by 5.1" in mirrored["sentence"]


def test_below_five_seeds_it_is_no_comparison_however_clear(trial):
    row = compare(arms(trial, A[:4], [90.0, 91.0, 92.0, 93.0, 94.0])).verdict["pairs"][0]
    assert row["welch"]["p_holm"] < 1e-6 and row["verdict"] == "no comparison"
    assert "no comparison: 4 against 5 seeds" in row["sentence"] and "below 5" in row["sentence"]


def test_an_open_pair_says_what_would_decide_it(trial):
    row = compare(arms(trial, A, [3.5, 2.0, 4.5, 1.0, 5.5])).verdict["pairs"][0]
    assert row["verdict"] == "undecided" and f"needs {row['seeds_needed']} seeds an arm" in row["sentence"]
    assert number(row["mde_80"]) in row["sentence"]


def test_holm_reaches_over_environments(trial):
    """p = 0.03 decides alone, and not beside three other environments."""
    b = [value + 2.8 for value in A]
    one = compare(arms(trial, A, b)).verdict["pairs"][0]
    assert 0.0125 < one["welch"]["p"] < 0.05 and one["verdict"] == "b is higher"
    four = [t._replace(env=env) for env in "wxyz" for t in arms(trial, A, b if env == "w" else A)]
    row = only(compare(four).verdict["pairs"], env="w", endpoint="return/final")
    assert row["welch"]["p_holm"] == pytest.approx(4 * one["welch"]["p"]) and row["verdict"] == "undecided"


def test_runs_without_spread_decide_nothing(trial):
    row = compare(arms(trial, [1.0] * 5, [2.0] * 5)).verdict["pairs"][0]
    assert (
        row["verdict"] == "no spread"
        and "no test is possible" in row["sentence"]
        and "a lies 1 below b" in row["sentence"]
    )
    assert "undecided" not in row["sentence"] and row["more_seeds"] == []


def test_seeds_pair_only_where_they_are_the_same(trial):
    assert compare(arms(trial)).verdict["pairs"][0]["paired"] is not None
    moved = [t._replace(seed=t.seed + 5) if t.arm == "b" else t for t in arms(trial)]
    assert compare(moved).verdict["pairs"][0]["paired"] is None
    with pytest.raises(CompareError, match="no seed in common"):
        compare(moved, sequential=True)


def test_sequential_decides_by_its_own_test(trial):
    b = [value + 5 + 0.1 * i for i, value in enumerate([*A, 2.0, 3.0])]
    row = compare(arms(trial, [*A, 2.0, 3.0], b), sequential=True).verdict["pairs"][0]
    assert row["sequential"]["n"] == 7 and row["sequential"]["decided_at"] <= 7
    assert row["verdict"] == "b is higher" and "always-valid" in row["sentence"]
    early = compare(arms(trial), sequential=True).verdict["pairs"][0]
    assert early["welch"]["p"] < 0.001 and early["verdict"] == "undecided"


def test_the_order_of_the_files_does_not_matter(trial):
    runs = arms(trial)
    assert compare(runs).verdict["pairs"][0]["welch"] == compare(runs[:5] + runs[:4:-1]).verdict["pairs"][0]["welch"]


# --- stability and rollback -------------------------------------------------------------------------------------------


def flags(run_folder, returns=(100.0,), **rows) -> tuple[dict, list]:
    """(stability of the arm kl=k1, its rollback reasons) against kl=exact, whose evaluations go from -400 to 100."""
    folders = [run_folder([-400.0, 100.0], seed=seed) for seed in (1, 2)]
    folders += [run_folder([-400.0, *returns], kl="k1", seed=seed, rows=rows) for seed in (1, 2)]
    verdict = compare(load(folders), by=["kl"], baseline="kl=exact").verdict
    row = only(verdict["stability"], arm="kl=k1")
    assert only(verdict["stability"], arm="kl=exact")["rollback"] is None
    return row, row["rollback"]


def test_an_arm_like_its_baseline_stays(run_folder):
    assert flags(run_folder)[1] == []


@pytest.mark.parametrize(
    "returns, rows, reason",
    [
        ((39.0,), {}, "loses 12% of what the baseline gained (-400 to 100)"),
        ((100.0,), {"guard/nonfinite": 3.0}, "non-finite numbers in 4 updates, baseline 0"),
        ((100.0,), {"loss/value": "NaN"}, "non-finite numbers in 4 updates, baseline 0"),
        ((100.0,), {"update/stop": "nonfinite"}, "non-finite numbers in 4 updates, baseline 0"),
        ((100.0,), {"time/wall": 8.4}, "2.1 times as slow"),
    ],
)
def test_each_reason_to_take_an_arm_back(run_folder, returns, rows, reason):
    assert flags(run_folder, returns, **rows)[1] == [reason]


@pytest.mark.parametrize("zero", [-10_000.0, 0.0, 10_000.0])
def test_where_the_zero_of_the_reward_lies_changes_no_share(trial, zero):
    """Begun at -50, the baseline at 150, an arm at 100: a quarter of what was gained, whatever is added to every reward."""
    runs = [trial(arm, seed, zero - 50, zero + end) for arm, end in (("base", 150), ("arm", 100)) for seed in range(2)]
    (row,) = [row for row in compare(runs, baseline="base").verdict["stability"] if row["arm"] == "arm"]
    assert row["rollback"] == [f"loses 25% of what the baseline gained ({number(zero - 50)} to {number(zero + 150)})"]


def test_a_single_evaluation_has_no_area_and_no_beginning(trial):
    """``eval.every=0``: the only evaluation is the end, and nobody knows what the baseline gained."""
    found = compare(arms(trial), baseline="b").verdict
    assert {row["endpoint"] for row in found["pairs"]} == {"return/final"}
    assert not any(row["rollback"] for row in found["stability"])


def test_of_a_baseline_that_gained_nothing_no_share_is_lost(trial):
    runs = [trial(arm, seed, 100, end) for arm, end in (("base", 90), ("arm", 10)) for seed in range(2)]
    assert [row["rollback"] for row in compare(runs, baseline="base").verdict["stability"]] == [None, []]


def test_what_is_within_bounds_is_no_reason(run_folder):
    assert flags(run_folder, (51.0,), **{"time/wall": 7.8})[1] == []


def test_stability_by_hand(run_folder):
    row, _ = flags(run_folder, (100.0, 100.0), **{"kl/final": 0.06, "update/stop": "minibatch"})
    assert (row["updates"], row["kl_spikes"], row["early_stops"], row["nonfinite"]) == (6, 1.0, 1.0, 0)
    assert row["loss_policy_variance"] == pytest.approx(0.01) and row["loss_value_variance"] == 0.0
    assert (row["wall_clock"], row["seconds_per_step"]) == (6.0, 0.002)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_the_command_keeps_everything_but_the_seed():
    typed = "python -m ppo.train -m kl=exact,k1 seed=1,2 'network.actor=[64,64]' hydra.sweep.dir=outputs/ab"
    again = "python -m ppo.train -m kl=exact,k1 'network.actor=[64,64]' hydra.sweep.dir=outputs/ab seed=3,4"
    assert with_seeds(typed, "3,4") == again


def test_a_single_run_becomes_a_sweep_in_folders_of_its_own():
    assert with_seeds("python -m ppo.train seed=1 hydra.run.dir=x", "2") == "python -m ppo.train -m seed=2"
    assert (
        with_seeds("python /usr/bin/ppo-train kl=k1", "range(2,30)")
        == "python /usr/bin/ppo-train -m kl=k1 'seed=range(2,30)'"
    )
    assert with_seeds("python other.py seed=1", "2") is None


def test_missing_seeds_begin_after_the_last(run_folder):
    folders = [run_folder([10.0 + seed + len(kl)], kl=kl, seed=seed) for kl in ("exact", "k1") for seed in (1, 2, 3)]
    trials = load(folders)
    row = compare(trials, by=["kl"]).verdict["pairs"][0]
    assert row["more_seeds"] == ["python -m ppo.train -m kl=exact,k1 hydra.sweep.dir=outputs/ab seed=4,5"]
    assert more_seeds(row | {"verdict": "undecided", "seeds_needed": 40}, trials)[0].endswith("'seed=range(4,41)'")
    assert more_seeds(row | {"verdict": "a is higher"}, trials) == []


# --- the same run, the same steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [False, True])
def test_arms_that_are_the_same_run_are_not_tested(run_folder, sequential):
    """Wall-clock time differs, and what was measured of the KL; what was learned does not."""
    folders = [
        run_folder([10.0 * seed], kl=kl, seed=seed, rows={"time/wall": wall, "kl/final": wall})
        for kl, wall in (("exact", 1.0), ("k1", 2.0))
        for seed in range(1, 7)
    ]
    verdict = compare(load(folders), by=["kl"], sequential=sequential).verdict
    row = verdict["pairs"][0]
    assert row["verdict"] == "the same run" and math.isnan(row["welch"]["p_holm"]) and row["more_seeds"] == []
    assert "kl=exact and kl=k1 are the same run" in row["sentence"] and "p =" not in row["sentence"]
    assert len(sentences(verdict)) == 1 and verdict["notes"] == []


def test_one_seed_that_is_the_same_run_is_noted(trial):
    runs = [trial(arm, seed, 1.0, 2.0 + (seed > 0) * ord(arm) + seed**2) for arm in "ab" for seed in range(6)]
    verdict = compare(runs).verdict
    assert verdict["notes"] == ["toy: a and b are equal to the last digit in seed 0, and not in others"]
    assert verdict["pairs"][0]["verdict"] == "undecided"


def test_arms_that_differ_in_the_last_digit_of_one_loss_are_two(run_folder):
    rows = {"exact": {"loss/value": 0.1 + 0.2}, "k1": {"loss/value": 0.3}}
    folders = [run_folder([10.0 * seed], kl=kl, seed=seed, rows=rows[kl]) for kl in rows for seed in range(1, 7)]
    assert compare(load(folders), by=["kl"]).verdict["pairs"][0]["verdict"] == "undecided"


def test_arms_of_a_table_are_the_same_run_only_where_the_returns_say_something(trial):
    same = [trial(arm, seed, 1.0 * seed, 2.5 + seed) for arm in "ab" for seed in range(6)]
    assert compare(same).verdict["pairs"][0]["verdict"] == "the same run"
    level = [trial(arm, seed, 10.0, 10.0) for arm in "ab" for seed in range(6)]
    assert compare(level).verdict["pairs"][0]["verdict"] == "no spread"


def test_the_same_run_costs_other_pairs_no_correction(trial):
    runs = arms(trial) + [t._replace(arm="c") for t in arms(trial) if t.arm == "a"]
    runs = [t._replace(curves={"return": (np.array([1.0, 2.0]), np.append(t.curves["return"][1], 1.0))}) for t in runs]
    rows = [row for row in compare(runs, baseline="a", window=2).verdict["pairs"] if row["endpoint"] == "return/final"]
    assert {row["a"]: row["verdict"] for row in rows} == {"b": "a is higher", "c": "the same run"}
    assert "Holm" not in rows[0]["sentence"]


def on_steps(trial, arm, seed, steps, values):
    run = trial(arm, seed, *values)
    return run._replace(curves={"return": (np.array(steps, dtype=float), run.curves["return"][1])})


def test_curves_are_compared_over_the_steps_that_all_have(trial):
    """b logs step 0 and goes on to twice the budget; where both are, they are equal but for the seed."""
    runs = [on_steps(trial, "a", seed, [10, 20], [1.0 + seed, 3.0 + seed]) for seed in range(5)]
    runs += [on_steps(trial, "b", seed, [0, 15, 30, 40], [-50.0, 2.1 + seed, 5.0 + seed, 90.0]) for seed in range(5)]
    verdict = compare(runs).verdict
    assert verdict["spans"][0]["steps"] == (10.0, 20.0)
    assert "compared over steps 10 to 20" in verdict["notes"][0] and "from 0 to 40" in verdict["notes"][0]
    auc = only(verdict["arms"], arm="b", endpoint="return/auc")["mean"]
    first, middle, last = -50 + 10 / 15 * 54.1, 4.1, 4.1 + 5 / 15 * 2.9
    assert auc == pytest.approx((5 * (first + middle) / 2 + 5 * (middle + last) / 2) / 10)
    assert only(verdict["arms"], arm="b", endpoint="return/final")["mean"] == pytest.approx(4.1)


def test_equal_ranges_need_no_note(trial):
    runs = [
        on_steps(trial, arm, seed, [10, 20, 1000 + seed], [1.0, ord(arm), seed]) for arm in "ab" for seed in range(5)
    ]
    assert compare(runs).verdict["notes"] == []


def test_no_step_in_common_is_refused(trial):
    runs = [on_steps(trial, "a", 1, [10, 20], [1.0, 2.0]), on_steps(trial, "b", 1, [30, 40], [1.0, 2.0])]
    with pytest.raises(CompareError, match=r"\(a, seed 1\) ends at step 20, before .*\(b, seed 1\) begins, at step 30"):
        compare(runs)


def test_a_curve_that_was_not_logged_is_not_failed(run_folder):
    """A finished run without evaluations has no place in eval/*; in train/* it counts."""
    folders = [run_folder([10.0 + seed], kl=kl, seed=seed) for kl in ("exact", "k1") for seed in (1, 2, 3)]
    rows = folders[-1] / "metrics.jsonl"
    rows.write_text(rows.read_text().replace('"eval/return": 13.0, ', ""))
    verdict = compare(load(folders), by=["kl"]).verdict
    evaluated = only(verdict["arms"], arm="kl=k1", endpoint="eval/final")
    assert (evaluated["n"], evaluated["failed"]) == (2, 0)
    assert only(verdict["arms"], arm="kl=k1", endpoint="train/final")["n"] == 3 and verdict["failures"] == []
    assert any("was not logged by seed 3" in note and "kl=k1" in note for note in verdict["notes"])


def test_a_curve_that_only_failed_runs_have_is_no_endpoint(run_folder):
    """There is nothing that they could be lower than."""
    crashed = run_folder([5.0, 10.0], kl="k1", seed=3, status="failed")
    folders = [run_folder([5.0, 10.0 + seed], kl=kl, seed=seed) for kl in ("exact", "k1") for seed in (1, 2)]
    for rows in (folder / "metrics.jsonl" for folder in folders):
        rows.write_text(rows.read_text().replace('"eval/return"', '"another"'))
    verdict = compare(load([*folders, crashed]), by=["kl"]).verdict
    assert {row["endpoint"] for row in verdict["arms"]} == {"train/final", "train/auc"}


@pytest.mark.parametrize("window", [None, 1, 2, 3])
def test_no_window_decides_what_failed(trial, window):
    """One NaN inside, in the window or outside of it: the same runs count, and the same ones failed."""
    runs = [trial("a", seed, 1.0, 2.0, math.nan, 4.0 + seed, 5.0) for seed in range(5)]
    runs += [trial("b", seed, 1.0, 2.0, 3.0, 4.0 + seed, math.nan) for seed in range(5)]
    verdict = compare(runs, window=window).verdict
    rows = [row for row in verdict["arms"] if row["endpoint"] == "return/final"]
    assert [(row["arm"], row["n"], row["failed"]) for row in rows] == [("a", 5, 0), ("b", 5, 5)]
    assert {row["reason"] for row in verdict["failures"]} == {"its last return, at step 5, is NaN"}
    assert sum("1 of 5 values of return are NaN" in note for note in verdict["notes"]) == 5


def test_failures_are_counted_in_an_exact_test(trial):
    runs = [trial("a", seed, 5.0 + seed) for seed in range(8)]
    runs += [trial("b", seed, 5.5 + seed, failed="crashed" if seed < 6 else None) for seed in range(8)]
    row = compare(runs).verdict["pairs"][0]
    assert row["failures_p"] == pytest.approx(scipy_stats.fisher_exact([[0, 8], [6, 2]]).pvalue)
    assert f"6 of 8 of b failed (p of failing equally often: {number(row['failures_p'])})" in row["sentence"]


@pytest.mark.parametrize("sequential, n", [(False, 5), (True, 8)])
def test_an_arm_whose_runs_all_crash_is_lower_whatever_the_others_reached(trial, quick, sequential, n):
    """The lowest value of the other arm is no estimate of a crash: a wide spread there must not hide it."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        runs = [trial("a", seed, rng.normal(), failed="crashed") for seed in range(n)]
        runs += [trial("b", seed, 100 * rng.standard_cauchy()) for seed in range(n)]
        row = only(compare(runs, sequential=sequential).verdict["pairs"], endpoint="return/final")
        assert row["verdict"] == "b is higher" and row["superiority"]["p"] == 0.0
        assert f"{n} of {n} runs of a and 0 of {n} of b failed" in row["sentence"]
    assert sequential or row["rank"]["p"] == pytest.approx(2 / 252)


def test_so_few_seeds_that_no_ranks_would_do_say_so(trial, quick):
    """Seven arms against one with a failed run: Holm asks for 0.05 / 7 of the smallest p, and five against five have 2 / 252."""
    runs = [trial(arm, seed, seed + ord(arm) / 10) for arm in "abcdefg" for seed in range(5)]
    runs += [trial("z", seed, 90.0 + seed, failed="crashed" if seed == 0 else None) for seed in range(5)]
    row = compare(runs, baseline="z").verdict["pairs"][0]
    assert row["verdict"] == "undecided" and "So few seeds cannot decide here" in row["sentence"]
    assert "have p = 0.00794, where 0.00714 is asked for" in row["sentence"]


def test_two_arms_that_fail_altogether_are_no_test(trial, quick):
    runs = [trial(arm, seed, seed, failed="crashed") for arm in "ab" for seed in range(5)]
    row = compare(runs).verdict["pairs"][0]
    assert row["verdict"] == "no spread" and "5 of 5 runs of a and 5 of 5 of b failed" in row["sentence"]


@pytest.mark.parametrize("x, said", [(999.7, "1,000"), (1e12, "1e+12"), (9.65e-8, "9.65e-08"), (-12_345.6, "-12,346")])
def test_numbers_are_readable_at_every_scale(x, said):
    assert number(x) == said


def test_each_environment_is_decided_by_the_first_endpoint_that_it_has(run_folder):
    """One with evaluations, one without: neither loses its verdict, and Holm corrects over both."""
    for kl, base in (("exact", 0.0), ("k1", 50.0)):
        for seed in range(1, 6):
            run_folder([base + seed], seed=seed, kl=kl, name=f"with-{kl}-{seed}", **{"env.id": "With-v0"})
            bare = run_folder([base + seed], seed=seed, kl=kl, name=f"bare-{kl}-{seed}", **{"env.id": "Without-v0"})
            rows = [json.loads(row) for row in (bare / "metrics.jsonl").read_text().splitlines()]
            text = [json.dumps({k: v for k, v in row.items() if k != "eval/return"}) for row in rows]
            (bare / "metrics.jsonl").write_text("\n".join(text) + "\n")
    verdict = compare(load([bare.parent]), by=["kl"], baseline="kl=exact").verdict
    said = sentences(verdict)
    assert {line.split(":")[0] for line in said} == {"With-v0, eval/final", "Without-v0, train/final"}
    assert all("after Holm's correction over 2 tests" in line for line in said)
    assert set(decided_at(verdict).split(" or ")) == {"eval/final", "train/final"}
    assert len(commands(verdict)) == len(
        {line for row in verdict["pairs"] if row["primary"] for line in row["more_seeds"]}
    )


def test_an_arm_without_a_counterpart_is_named(run_folder):
    folders = [run_folder([1.0], kl="exact", norm="none"), run_folder([1.0], kl="k1", norm="group")]
    verdict = compare(load(folders), by=["kl", "norm"], baseline="norm=none").verdict
    assert not verdict["pairs"]
    told = [note for note in verdict["notes"] if "not compared" in note]
    assert [note.split(":")[0] for note in told] == ["kl=exact,norm=none", "kl=k1,norm=group"]
