"""Return over distance: what is read of the runs, which arms are compared, and which are marked."""

import csv
import json

import numpy as np
import pytest

from ppo.compare.charts import arms, charts
from ppo.compare.cli import main
from ppo.compare.compare import compare
from ppo.compare.distance import compared, distances, marks
from ppo.compare.load import load
from ppo.compare.trial import CompareError

REACHED = {("exact", 0.01): 0.0102, ("exact", 0.02): 0.0197, ("k1", 0.01): 0.0061, ("k1", 0.02): 0.0203}


@pytest.fixture
def matched(run_folder, tmp_path):
    """Two methods at two distances, five seeds each. k1 falls short of 0.01; one of its seeds at 0.02 is at its bound."""
    for (kl, target), reached in REACHED.items():
        for seed in range(1, 6):
            rows = {
                "match/target": target,
                "match/reached": reached,
                "match/knob": 0.2,
                "kl/final": reached * (1 + seed / 100),
            }
            rows["match/at_bound"] = float((kl, target, seed) == ("k1", 0.02, 3))
            run_folder(
                [1.0, 100 * target / 0.01 + (7 if kl == "exact" else 6) * seed],
                kl=kl,
                seed=seed,
                target_kl=target,
                rows=rows,
            )
    return tmp_path / "runs"


def test_a_row_an_arm_by_method_and_distance(matched, quick):
    comparison = compare(load([matched]), by=["kl", "target_kl"], within=["target_kl"])
    rows = distances(comparison, "kl/final")
    assert [(row["method"], row["within"]["target_kl"]) for row in rows] == [
        (f"kl={kl}", str(target)) for kl, target in REACHED
    ]
    first = rows[0]
    assert first["x"] == pytest.approx(0.0102 * 1.03) and first["return"] == pytest.approx(121.0)
    half = 2.776445 * 0.0102 * 0.0158114 / 5**0.5  # t of four degrees of freedom; the deviation of 1 ... 5 is 1.58114
    assert first["x_ci"] == pytest.approx((first["x"] - half, first["x"] + half), rel=1e-5)
    assert first["return_ci"] == pytest.approx(
        (121 - 2.776445 * 11.0680 / 5**0.5, 121 + 2.776445 * 11.0680 / 5**0.5), rel=1e-5
    )
    assert [row["marks"] for row in rows] == [[], [], ["reached 0.0061 of 0.01"], ["at its bound in seed 3"]]


@pytest.mark.parametrize("baseline", [None, "kl=exact", "kl=exact,target_kl=0.02"])
def test_arms_are_compared_within_a_distance_and_corrected_over_all(matched, quick, baseline):
    pairs = compare(load([matched]), by=["kl", "target_kl"], within=["target_kl"], baseline=baseline).verdict["pairs"]
    primary = [row for row in pairs if row["endpoint"] == "eval/final"]
    assert len(primary) == (1 if baseline == "kl=exact,target_kl=0.02" else 2)
    assert all(row["a"].split(",")[1] == row["b"].split(",")[1] for row in primary)
    assert {round(row["welch"]["level"], 3) for row in primary} <= {0.95, 0.975}
    assert len(primary) == 1 or "over 2 tests" in primary[0]["sentence"]


def test_the_page_has_a_line_a_method_through_its_arms(matched, quick):
    comparison = compared(load([matched]), by=["kl", "target_kl"], within=["target_kl"], x="kl/final")
    chart = charts(comparison)[0]
    assert chart.title == "Toy-v0: return over kl/final" and [band.name for band in chart.bands] == [
        "kl=exact",
        "kl=k1",
    ]
    rows = comparison.verdict["distance"]["rows"]
    np.testing.assert_array_equal(chart.bands[1].x, [row["x"] for row in rows[2:]])
    np.testing.assert_array_equal(chart.bands[1].high, [row["return_ci"][1] for row in rows[2:]])
    points = [line for line in chart.lines if line.style in ("dots", "rings")]
    assert [line.style for line in points] == ["dots", "dots", "rings", "rings"]
    assert [line.arm for line in points] == [arms(comparison).index(row["arm"]) for row in rows]
    assert points[2].name == "mean, not at its distance: reached 0.0061 of 0.01"


def test_the_command_prints_and_writes_the_curve(matched, tmp_path, capsys, quick):
    out = tmp_path / "out"
    assert (
        main([str(matched), "--by", "kl,target_kl", "--within", "target_kl", "--x", "kl/final", "--out", str(out)]) == 0
    )
    printed = capsys.readouterr().out
    assert "Return over kl/final" in printed and "reached 0.0061 of 0.01" in printed
    assert "! Toy-v0: kl=k1,target_kl=0.02 is not at its distance: at its bound in seed 3" in printed
    with (out / "distance.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and rows[2]["marked"] == "reached 0.0061 of 0.01" and rows[0]["target_kl"] == "0.01"
    assert float(rows[0]["kl/final mean"]) == pytest.approx(0.0102 * 1.03)
    assert len(json.loads((out / "verdict.json").read_text())["distance"]["rows"]) == 4
    page = (out / "report.html").read_text()
    assert "Toy-v0: return over kl/final" in page


def test_mistakes_are_one_line(matched, tmp_path, capsys, quick):
    out, file = ["--out", str(tmp_path / "out")], tmp_path / "file"
    file.touch()
    for words, said in (
        (["--by", "kl,target_kl", "--x", "kl/finl"], "--x kl/finl: no run logged such a metric"),
        (["--by", "kl,target_kl", "--x", "nope"], "--x nope: no run logged such a metric; nearest: "),
        (["--by", "kl,target_kl", "--out", str(file)], f"--out {file}: is a file, or in one; a folder was expected"),
        (["--by", "kl,target_kl", "--within", "norm"], "--within norm: is no factor of --by kl,target_kl"),
    ):
        assert main([str(matched), *out, *words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and said in err and err.count(",") < 4


def test_one_seed_has_a_point_and_no_interval(run_folder, tmp_path, quick):
    run_folder([1.0, 2.0])
    assert main([str(tmp_path / "runs"), "--by", "kl", "--x", "kl/final", "--out", str(tmp_path / "out")]) == 0
    chart = charts(compared(load([tmp_path / "runs"]), by=["kl"], x="kl/final"))[0]
    assert [line.style for line in chart.lines] == ["dots"] and np.isnan(chart.bands[0].low).all()


def test_a_table_has_no_distance(trial, quick):
    with pytest.raises(CompareError, match="no run logged such a metric"):
        distances(compare([trial("a", seed, seed) for seed in range(2)]), "kl/final")


def test_the_bound_is_read_where_the_run_ended(run_folder):
    """At its bound on the way and off it again: the target was reached. A run that did not match is not marked."""
    (run,) = load([run_folder([1.0, 2.0])])
    on, off = ({"match/target": 0.01, "match/reached": 0.011, "match/at_bound": x} for x in (1.0, 0.0))
    assert marks([run]) == [] == marks([run._replace(rows=[on, off])])
    assert marks([run._replace(rows=[off, on])]) == ["at its bound in seed 1"]
    assert marks([run._replace(rows=[off | {"match/reached": float("nan")}])]) == ["reached unknown of 0.01"]
