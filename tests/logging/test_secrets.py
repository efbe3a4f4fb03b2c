"""The key to wandb is in no file, no console line and no report; nor is what a forged run folder asks for by name."""

import sys

import pytest

from ppo import cli
from ppo.compare.cli import main as compare

pytestmark = pytest.mark.usefixtures("logged_out")

KEY = "5ec2e7" * 6 + "5ec2"  # as long as a real one
TINY = ["env=probe", "num_envs=2", "num_steps=8", "minibatch_size=8", "total_steps=16", "epochs=1", "compile=false"]
TINY += ["workers=0", "network.actor=[4]", "network.critic=[4]", "eval.episodes=1", "logger.mode=offline"]


def held(folder) -> list:
    """Files below ``folder`` in which the key is, but for its ends."""
    return [path for path in folder.rglob("*") if path.is_file() and KEY[3:-3].encode() in path.read_bytes()]


def fail(*_, **__):
    raise RuntimeError("on the way")


def test_a_run_its_failure_and_the_report_of_both_hold_no_key(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for number, words in enumerate(([], ["kl=k3"], ["kl=k1"])):
        monkeypatch.setattr(sys, "argv", ["ppo-train", *TINY, *words, f"hydra.run.dir={tmp_path}/runs/{number}"])
        if number == 2:
            monkeypatch.setattr("ppo.train.check_on_policy", fail)
            with pytest.raises(RuntimeError, match="on the way"):
                cli.main()
        else:
            cli.main()
    assert compare([str(tmp_path / "runs"), "--by", "kl", "--out", str(tmp_path / "report")]) == 0
    assert len([*(tmp_path / "runs").rglob("*.wandb")]) == 3 and (tmp_path / "report" / "report.html").exists()
    assert held(tmp_path) == []
    assert KEY[3:-3] not in "".join(capfd.readouterr())


def test_a_comparison_does_not_resolve_what_a_run_folder_asks_for(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for arm in ("${oc.env:WANDB_API_KEY}", "plain"):
        (folder := tmp_path / "runs" / arm[:1]).mkdir(parents=True)
        (folder / "config.yaml").write_text(
            f"seed: 1\nenv: {{_target_: envs.gym.gym, id: a}}\nkl: {{_target_: '{arm}'}}\n"
        )
        (folder / "run.json").write_text('{"status": "finished"}')
        (folder / "metrics.jsonl").write_text('{"update": 1, "env_steps": 8, "eval/return": 1.0}\n')
    compare([str(tmp_path / "runs"), "--by", "kl", "--out", str(tmp_path / "report")])
    assert (tmp_path / "report" / "report.html").exists() and held(tmp_path) == []
    assert KEY[3:-3] not in "".join(capfd.readouterr())
