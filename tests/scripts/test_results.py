"""The table of learning results: of tables and run folders, under one name a task."""

import pytest

from scripts import results


@pytest.fixture
def table(tmp_path):
    rows = [f"AntBulletEnv-v0,sb3,{seed},{step},{10 * seed + step}" for seed in range(1, 5) for step in (1, 2)]
    (tmp_path / "sb3.csv").write_text("\n".join(["env,arm,seed,step,return", *rows, ""]))
    return tmp_path / "sb3.csv"


def test_a_table_is_kept_beside_what_the_file_has(table, tmp_path, capsys):
    out = tmp_path / "data" / "all.csv"
    assert results.main([str(table), "--csv", str(out)]) == 0
    table.write_text("env,arm,seed,step,return\nAntBulletEnv-v0,sb3,1,2,7\nHopper-v5,sb3,1,2,5\n")
    assert results.main([str(table), "--csv", str(out)]) == 0
    found = out.read_text().splitlines()
    assert found[0] == "env,arm,seed,step,return" and "AntBullet,sb3,1,2,7.00" in found  # given again: replaced
    assert "AntBullet,sb3,2,2,22.00" in found and "Hopper-v5,sb3,1,2,5.00" in found and len(found) == 1 + 7 + 1
    row = next(line for line in capsys.readouterr().out.splitlines()[::-1] if line.startswith("| AntBullet"))
    assert row.startswith("| AntBullet | 2 | sb3 | 4 | 26 ± 15 | 27 [") and row.endswith("| 7, 42 |")


def test_run_folders_are_the_arm_that_is_named(finished, tmp_path, capsys):
    folder = finished().folder
    assert results.main([str(folder)]) == 2 and "--arm" in capsys.readouterr().err
    assert results.main([str(folder), "--arm", "mine", "--csv", str(tmp_path / "x.csv")]) == 0
    assert (tmp_path / "x.csv").read_text().splitlines()[1].startswith("probe-")


def test_curves_are_drawn(table, tmp_path):
    pytest.importorskip("matplotlib")
    assert results.main([str(table), "--picture", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").stat().st_size > 1000
