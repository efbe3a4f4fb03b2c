"""A run folder of an earlier version: whatever can be done with a run of today can be done with it, with the same numbers.

It was written before options moved into ``ppo.control`` and ``ppo.loss``, by ``python -m ppo.train`` with the words in
its ``config.yaml``. ``expected.json`` holds what that version itself then gave.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ppo import cli, evaluate, export
from ppo.compare.load import load
from ppo.config.check import bind
from ppo.config.foreign import current, foreign
from ppo.config.options import plain
from ppo.config.schema import GROUPS, scalars
from ppo.doctor.__main__ import main as doctor
from ppo.run import checkpoint
from ppo.run.folder import check_same, config_of

EARLIER = Path(__file__).parent / "data" / "earlier"
EXPECTED = json.loads((EARLIER / "expected.json").read_text())
WORDS = [
    "env.task=target",
    "num_envs=2",
    "num_steps=8",
    "minibatch_size=8",
    "epochs=2",
    "total_steps=48",
    "eval.every=0",
    "target_kl=0.05",
    "network.actor=[4]",
    "network.critic=[4]",
    "network.activation=relu",
    "network.orthogonal=false",
    "network.log_std=-1.0",
    "network.log_std_min=-10",
    "gae_lambda=0.9",
    "normalise.obs=true",
    "normalise.reward=true",
    "lr=linear",
    "lr.value=1e-2",
    "clip=adaptive",
    "clip.tolerance=1.5",
    "clip.eps=0.2",
    "penalty=adaptive",
    "stop=rollback",
    "norm=ema",
]


@pytest.fixture
def run(tmp_path):
    """The run folder, to be written into."""
    shutil.copytree(EARLIER, tmp_path / "earlier")
    return tmp_path / "earlier"


def train(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ppo-train", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def agree(found: list[dict], expected: list[dict]) -> None:
    """Equal on the machine that wrote them; another processor may round otherwise."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert {key: ours[key] for key in theirs} == pytest.approx(theirs, rel=1e-5)


def test_it_is_resumed_as_it_would_have_been(run, monkeypatch, capfd):
    train(monkeypatch, f"resume={run}", "total_steps=96", "doctor.thresholds.learning_rate.kl=0.5")
    assert "not to the bit" not in capfd.readouterr().err
    assert config_of(run)["doctor"]["thresholds"] == {"learning_rate": {"kl": 0.5}}
    agree(rows(run)[3:], EXPECTED["resume=RUN total_steps=96"])
    assert rows(run)[:3] == rows(EARLIER)


def test_another_run_starts_from_it(run, tmp_path, monkeypatch):
    words = [word for word in WORDS if not word.startswith("total_steps")]
    small = ["env=probe", "logger=none", "compile=false", "workers=0", "eval.episodes=2"]
    words += ["total_steps=16", "normalise.reward=false"]  # that version did not hand over the scale of the rewards
    train(monkeypatch, *small, *words, f"init={run}", f"hydra.run.dir={tmp_path / 'new'}")
    agree(rows(tmp_path / "new"), EXPECTED["init=RUN total_steps=16 normalise.reward=false"])


def test_it_is_the_run_that_the_same_words_make_today(config, capsys):
    cfg = config(*WORDS)
    now = plain(cfg)
    assert current(now) == now
    for before in (config_of(EARLIER), checkpoint.load(checkpoint.find(EARLIER))[1]["config"]):
        check_same(EARLIER, before, now)
    assert capsys.readouterr().err == ""
    assert {g: o.func for g, o in bind(foreign(before, [], EARLIER)).items()} == {
        g: o.func for g, o in bind(cfg).items()
    }


def test_it_is_played_exported_compared_and_examined(run, capsys):
    evaluate.main([str(run)])
    assert capsys.readouterr().out.startswith(EXPECTED["evaluate"])
    assert doctor([str(run)]) == 0
    (trial,) = load([run])
    assert trial.failed is None and trial.config["lr"]["_target_"] == "ppo.control.lr.linear"


@pytest.mark.slow
def test_it_is_exported(run):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export.main([str(run), "--observations", "20"])
    assert (run / "policy.onnx").exists()


def test_what_was_no_key_then_has_the_value_of_conf():
    config = config_of(EARLIER)
    for key in ("rank_timeout", "demo", "penalty"):
        del config[key]
    del config["network"]["squash"], config["adam"]["eps"], config["clip"]["fraction"]
    found = current(config)
    assert found["rank_timeout"] == scalars()["rank_timeout"] and found["adam"]["eps"] == 1e-5
    assert found["network"]["squash"] is False and found["clip"]["fraction"] is None and found["clip"]["eps"] == 0.2
    assert found["demo"] == {"_target_": "ppo.loss.demo.none"} and found["penalty"]["_target_"].endswith(".none")
    assert set(bind(foreign(config, [], EARLIER))) == set(GROUPS)


@pytest.mark.parametrize("junk", [{}, {"env": 7}, {"clip": {"_target_": 3}}, {"adam": None, "lr": {1: 2}}, {1: {}}])
def test_what_is_no_configuration_of_ours_is_left_to_be_refused(junk):
    assert junk.items() <= current(junk).items()
