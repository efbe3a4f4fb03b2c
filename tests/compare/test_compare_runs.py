"""The command line: what it prints and writes, and mistakes that end in one line and exit code 2."""

import json
import os
import sys

import pytest

from ppo.compare import load as loading
from ppo.compare.cli import main
from ppo.compare.table import COLUMNS


@pytest.fixture
def sweep(run_folder, tmp_path):
    """Two arms of five seeds, one of them dead, three evaluations a run."""
    for seed in range(1, 6):
        for kl, shift in (("exact", 0.0), ("k1", 30.0)):
            status = "running" if (kl, seed) == ("k1", 4) else "finished"
            run_folder([10.0, 20.0 + seed, 30.0 + 3 * seed + shift], kl=kl, seed=seed, status=status)
    return tmp_path / "runs"


def test_what_is_printed_and_written(sweep, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(sweep), "--by", "kl", "--baseline", "kl=exact", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "kl=k1" in printed and "failed: Toy-v0, kl=k1, seed 4: not finished" in printed
    verdict = json.loads((out / "verdict.json").read_text())
    assert {row["endpoint"] for row in verdict["arms"]} == {"eval/final", "eval/auc", "train/final", "train/auc"}
    assert {"env", "arm", "endpoint", "n", "failed", "mean", "std", "median", "iqm", "iqm_ci"} <= set(
        verdict["arms"][0]
    )
    pair = verdict["pairs"][0]
    wanted = {
        "env",
        "endpoint",
        "a",
        "b",
        "n_a",
        "n_b",
        "difference",
        "welch",
        "bootstrap_ci",
        "permutation_p",
        "hedges_g",
    }
    assert wanted | {"superiority", "mde_80", "seeds_needed", "verdict", "paired", "sentence"} <= set(pair)
    assert set(pair["welch"]) == {"t", "df", "p", "ci"} and set(pair["superiority"]) == {"p", "ci"}
    assert pair["test"] == "rank" and set(pair["rank"]) == {"u", "p", "p_holm", "level", "ci"}  # a run of k1 failed
    assert (pair["a"], pair["b"]) == ("kl=k1", "kl=exact") and pair["sentence"] in printed
    assert {file.name for file in out.iterdir()} == {"verdict.json", "report.html"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_is_full_behind_standard_output_costs_a_line(sweep, tmp_path, capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([str(sweep), "--by", "kl", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.startswith("cannot print: No space left on device\n")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"verdict.json", "report.html"}


def test_one_seed_and_nan_are_null_in_the_verdict(table, tmp_path):
    path = table([("e", arm, 1, 1, 2.5) for arm in "ab"])
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "verdict.json").read_text()
    verdict = json.loads(text)
    assert "NaN" not in text and verdict["pairs"][0]["welch"]["p"] is None and verdict["arms"][0]["std"] is None
    assert verdict["pairs"][0]["verdict"] == "no comparison"


def test_one_arm_alone_is_summarised(run_folder, tmp_path, capsys):
    run_folder([1.0])
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "name what was changed with --by" in capsys.readouterr().out


def test_what_a_shell_gives_for_all_of_a_sweep_is_its_cells(sweep):
    (sweep / "multirun.yaml").touch()
    assert len(loading.load([*sweep.iterdir()])) == 10


def test_a_path_given_twice_is_the_same_runs(sweep):
    assert len(loading.load([sweep, sweep / "kl=k1,seed=1"])) == 10


GOOD = ("e", "a", 1, 1, 2.0)


@pytest.mark.parametrize(
    "rows, header, names",
    [
        ([GOOD], ("env", "arm", "seed", "step", "reward"), ["line 1", "no column return"]),
        ([GOOD, ("e", "a", "one", 1, 2.0)], None, ["line 3", "'one'"]),
        ([GOOD, ("e", "a", 1, 2, "high")], None, ["line 3", "'high'"]),
        ([GOOD, ("e", "a", 1)], None, ["line 3", "not as many fields"]),
        ([GOOD, ("e", "a", 1, 1, 3.0)], None, ["seed 1 has step 1 twice", "two runs under one seed"]),
        ([("e", "", 1, 1, 2.0)], None, ["line 2", "must be named"]),
        ([], None, ["no run"]),
    ],
)
def test_a_malformed_csv_is_one_line(table, tmp_path, capsys, rows, header, names):
    path = table(rows, header=header or COLUMNS)
    assert main([str(path), "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(path) in line and all(name in line for name in names)
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_line(sweep, run_folder, table, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe\n")
    damaged = run_folder([1.0], name="../damaged")
    (damaged / "config.yaml").write_text("env: [")
    nameless = run_folder([1.0], name="../nameless")
    (nameless / "config.yaml").unlink()
    torn = run_folder([1.0], name="../torn")
    (torn / "metrics.jsonl").write_text("{not json}\n{}\n")
    foreign = table([GOOD])
    by = ["--by", "kl"]
    for arguments, names in [
        ([tmp_path / "nowhere"], ["nowhere", "no such file"]),
        ([tmp_path / "empty"], ["empty", "no run below it"]),
        ([tmp_path / "picture.png"], ["picture.png"]),
        ([damaged], ["damaged"]),
        ([nameless], ["nameless", "no config.yaml"]),
        ([torn], ["torn", "line 1"]),
        ([sweep, "--by", "kll"], ["kll", "did you mean kl?"]),
        ([sweep, *by, "--baseline", "kl=k9"], ["kl=k9", "no such arm"]),
        ([sweep, *by, "--window", "9"], ["--window 9", "only 3"]),
        ([sweep, *by, "--window", "0"], ["--window 0"]),
        ([sweep, *by, "--alpha", "1.5"], ["--alpha 1.5"]),
        ([sweep, foreign], ["cannot be mixed"]),
        ([foreign, *by], ["--by kl", "no factor"]),
        ([sweep], ["differ", "kl._target_"]),
    ]:
        assert main([*map(str, arguments), "--out", str(tmp_path / "out")]) == 2, arguments
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1, line
        assert all(name in line for name in names), line
        assert not (tmp_path / "out").exists()


def test_a_wandb_folder_of_our_own_run_is_not_a_second_run(run_folder):
    folder = run_folder([1.0])
    (folder / "wandb" / "offline-run-1").mkdir(parents=True)
    (folder / "wandb" / "offline-run-1" / "run-1.wandb").write_bytes(b"")
    assert len(loading.load([folder])) == 1


@pytest.mark.slow
def test_an_offline_wandb_run_is_read(tmp_path):
    import wandb

    config = {"env": {"_target_": "envs.gym.gym", "id": "Toy-v0"}, "seed": 3, "kl": {"_target_": "ppo.loss.kl.k1"}}
    run = wandb.init(mode="offline", dir=tmp_path, config=config, settings=wandb.Settings(silent=True, console="off"))
    for i in (1, 2):
        run.log({"env_steps": 1000 * i, "eval/return": float(i), "kl/final": float("nan")})
    run.finish(exit_code=0)
    (trial,) = loading.load([tmp_path])
    assert (trial.env, trial.seed, trial.failed) == ("Toy-v0", 3, None)
    steps, returns = trial.curves["eval"]
    assert steps.tolist() == [1000.0, 2000.0] and returns.tolist() == [1.0, 2.0]
    assert trial.code["versions.wandb"] == wandb.__version__ and trial.config["kl"] == config["kl"]
