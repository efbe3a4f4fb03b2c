"""A mistake ends in one line that says what and where, a non-zero exit code, and nothing half-written."""

import json
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from ppo import cli, evaluate

SMALL = ["logger=none", "env=probe", "num_envs=2", "num_steps=32", "minibatch_size=32", "total_steps=64", "epochs=1"]

MISTAKES = [
    # (overrides, what the line must name)
    (["kl=exakt"], ["kl=exakt", "did you mean exact?"]),
    (["klx=exact"], ["klx", "did you mean kl?"]),
    (["norm=batch"], ["norm=batch", "minibatch"]),
    (["total_step=100"], ["total_step", "did you mean total_steps?"]),
    (["clip.epsilon=0.1"], ["clip.epsilon", "eps"]),
    (["+clip.epsilon=0.1"], ["clip.epsilon", "clip=fixed", "eps"]),
    (["coef.kl=0.1"], ["coef.kl", "penalty=fixed penalty.beta="]),
    (["penalty=fixed", "penalty.beta=-1"], ["penalty.beta=-1", "negative"]),
    (["penalty=adaptive", "target_kl=0.01", "penalty.beta=1000"], ["penalty.beta=1000", "penalty.max"]),
    (["clip=adaptive", "target_kl=0.01", "clip.factor=0.5"], ["clip.factor=0.5", "at least 1"]),
    (["objective=trpo", "stop=none", "target_kl=null"], ["target_kl", "objective=trpo"]),
    (["objective=spo", "clip=none"], ["clip", "objective=spo", "clip range"]),
    (["objective.dual=0.5"], ["objective.dual=0.5", "above 1"]),
    (["stop=ratio", "stop.limit=0"], ["stop.limit=0", "positive"]),
    (["coef.val=1"], ["coef.val", "did you mean value?"]),
    (["epochs=many"], ["epochs", "'many'", "Integer"]),
    (["lr.value=fast"], ["lr.value", "'fast'", "Float"]),
    (["network.actor=wide"], ["network.actor"]),
    (["network.actor=[0]"], ["network", "actor=[0]", "at least 1"]),
    (["network.activation=sine"], ["network", "activation=sine", "tanh"]),
    (["network=categorical"], ["network", "continuous", "network=mlp"]),
    (["network.squash=true"], ["network.squash", "action=tanh"]),
    (["env=gym", "env.id=CartPole-v1"], ["CartPole-v1", "discrete", "network=categorical"]),
    (["network.log_std=5"], ["network", "log_std=5", "log_std_max"]),
    (["epochs=0"], ["epochs=0", "at least 1"]),
    (["num_envs=-2"], ["num_envs=-2", "at least 1"]),
    (["total_steps=0"], ["total_steps=0", "at least 1"]),
    (["workers=5"], ["workers=5", "num_envs=2"]),
    (["minibatch_size=30"], ["minibatch_size=30", "2 * 32 = 64"]),
    (["micro_batches=3"], ["micro_batches=3", "minibatch_size=32"]),
    (["network=gru", "network.chunk=12"], ["network.chunk=12", "num_steps=32"]),
    (["network=gru", "minibatch_size=8"], ["minibatch_size=8", "network.chunk=16"]),
    (["network=gru", "micro_batches=4"], ["micro_batches=4", "32 / 16 = 2"]),
    (["network=gru", "demo=npz", "demo.path=x.npz"], ["demo=npz", "no history", "network=mlp"]),
    (["network=gru", "network.hidden=0"], ["network.hidden=0", "at least 1"]),
    (["network=gru", "env=gym", "env.id=CartPole-v1"], ["CartPole-v1", "discrete", "network=categorical"]),
    (["gamma=1.5"], ["gamma=1.5", "[0, 1]"]),
    (["lr.value=-1"], ["lr.value=-1", "positive"]),
    (["clip.eps=nan"], ["clip.eps=nan", "positive"]),
    (["stop=minibatch", "target_kl=null"], ["target_kl", "stop=minibatch"]),
    (["stop=rollback", "target_kl=0"], ["target_kl=0", "positive"]),
    (["lr=adaptive_kl", "stop=none", "target_kl=null"], ["target_kl", "lr=adaptive_kl"]),
    (["lr=adaptive_kl", "target_kl=0.01", "+lr.end=0"], ["lr.end", "lr=adaptive_kl", "no such option"]),
    (["lr=adaptive_kl", "target_kl=0.01", "lr.min=1", "lr.max=0.1"], ["lr.min=1", "lr.max=0.1"]),
    (["norm=ema", "norm.low=0.9", "norm.high=0.1"], ["norm.low=0.9", "below norm.high=0.1"]),
    (["kl._target_=os.system"], ["kl._target_", "os.system", "no option of kl", "trust="]),
    (["kl._target_=ppo.loss.kl.k9"], ["kl._target_", "ppo.loss.kl.k9"]),
    (["observe.actor=[gyro]"], ["observe.actor=gyro", "no such columns", "no names, only numbers"]),
    (["observe.actor=[]"], ["observe.actor=[]", "names no column", "['0:'] sees all"]),
    (
        ["env=gym", "env.id=Pendulum-v1", "env.wrappers=[{_target_: os.system}]"],
        ["env.wrappers[0]._target_", "os.system", "gymnasium.wrappers", "trust=[PACKAGE]"],
    ),
    (["network._target_=mine.Net"], ["network._target_", "mine.Net", "trust=[PACKAGE]"]),
    (["network._target_=mine.Net", "trust=[mine]"], ["network._target_", "there is no 'mine.Net'"]),
    (["network=lstm", "network.chunk=12"], ["network.chunk=12", "num_steps=32"]),
    (["device=tpu"], ["device=tpu", "not available"]),
    (["seed=1,2"], ["seed=1,2", "multirun"]),
    (["+total_step=9"], ["+total_step=9", "no such key", "did you mean total_steps?"]),
    (["+eval.episode=9"], ["+eval.episode=9", "did you mean eval.episodes?"]),
    (["+adam.foo=9"], ["+adam.foo=9", "no such key"]),
    (["~seed"], ["seed=None", "must be given"]),
    (["seed=18446744073709551616"], ["seed=18446744073709551616", "must be below"]),
    (["kl=null"], ["kl=null", "choose one of", "exact"]),
    (["hydra.run.dir=''"], ["hydra.run.dir=''", "names no path"]),
    (["+experiment=nothing"], ["experiment=nothing", "pendulum"]),
    (["env=gym", "env.id=NoSuchTask-v0"], ["NoSuchTask-v0"]),
    (["env=probe", "env.task=mystery"], ["mystery"]),
]


def run(monkeypatch, capsys, tmp_path, *overrides: str) -> tuple[int, str]:
    """(exit code, stderr) of a training run in this process."""
    folder = f"hydra.run.dir={tmp_path / 'day' / 'run'}"
    monkeypatch.setattr(sys, "argv", ["ppo-train", *SMALL, folder, *overrides])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("overrides", "named"), MISTAKES, ids=lambda x: " ".join(x))
def test_a_mistake_is_one_line_and_leaves_nothing(monkeypatch, capsys, tmp_path, overrides, named):
    code, err = run(monkeypatch, capsys, tmp_path, *overrides)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1, err
    for text in named:
        assert text in err
    assert list(tmp_path.iterdir()) == []


def test_the_same_overrides_without_a_mistake_run(monkeypatch, capsys, tmp_path):
    code, err = run(monkeypatch, capsys, tmp_path)
    assert (code, err) == (0, "")
    assert (tmp_path / "day" / "run" / "metrics.jsonl").exists()


def test_a_folder_that_holds_a_run_is_not_written_over(monkeypatch, capsys, tmp_path):
    run(monkeypatch, capsys, tmp_path)
    before = (tmp_path / "day" / "run" / "metrics.jsonl").read_bytes()
    code, err = run(monkeypatch, capsys, tmp_path, "seed=2")
    assert code == 2
    assert "another configuration: seed=2 (was 1)" in err
    assert (tmp_path / "day" / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
@pytest.mark.parametrize("held", ["mine: 1", "[1]", "{", '{"mine": 1}'])
def test_a_file_that_no_run_wrote_is_not_written_over(monkeypatch, capsys, tmp_path, name, held):
    folder = tmp_path / "day" / "run"
    folder.mkdir(parents=True)
    (folder / name).write_text(held)
    code, err = run(monkeypatch, capsys, tmp_path)
    assert code == 2 and f"{name}: is no file of a run" in err and err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == [name] and (folder / name).read_text() == held


def test_a_folder_that_was_there_stays_where_a_run_is_refused(monkeypatch, capsys, tmp_path):
    folder, other = tmp_path / "day" / "run", tmp_path / "job"
    for made in (folder, other):
        made.mkdir(parents=True)
        os.utime(made, (0, 0))
    assert run(monkeypatch, capsys, tmp_path, "target_kl=-1")[0] == 2
    assert folder.is_dir()
    monkeypatch.chdir(other)  # its new folder, which is removed, is the only thing in it
    assert run(monkeypatch, capsys, tmp_path, "target_kl=-1", "hydra.run.dir=out")[0] == 2
    assert other.is_dir() and not (other / "out").exists()


class NanAfter(gymnasium.Env):
    """Rewards turn NaN at the fifth step."""

    observation_space = Box(-1, 1, (1,))
    action_space = Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), np.nan if self.t == 5 else 0.0, False, False, {}


def test_nan_from_an_environment_ends_the_run_and_says_where(monkeypatch, capsys, tmp_path):
    gymnasium.register("NanAfter-v0", NanAfter)
    try:
        code, err = run(monkeypatch, capsys, tmp_path, "env=gym", "env.id=NanAfter-v0", "workers=0")
    finally:
        gymnasium.registry.pop("NanAfter-v0")
    assert code == 2
    assert "NanAfter-v0" in err
    assert "reward" in err
    assert err.count("\n") == 1
    assert '"status": "failed"' in (tmp_path / "day" / "run" / "run.json").read_text()


@pytest.mark.slow
def test_a_failed_job_of_a_multirun_is_marked_and_makes_the_exit_code_non_zero(tmp_path):
    sweep = [f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${hydra.job.num}", "minibatch_size=32,30,16"]
    command = [sys.executable, "-m", "ppo.train", "-m", *SMALL, *sweep]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "minibatch_size=30" in done.stderr
    assert sorted(path.parent.name for path in tmp_path.glob("*/metrics.jsonl")) == ["0", "2"]
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    assert {run["name"]: run["status"] for run in runs} == {"0": "finished", "1": "failed", "2": "finished"}


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "bit flip", "pickle"])
def test_a_bad_checkpoint_is_one_line(monkeypatch, capsys, tmp_path, damage):
    run(monkeypatch, capsys, tmp_path)
    folder = tmp_path / "day" / "run"
    path = folder / "checkpoints" / "latest.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bit flip":
        content[-40] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(folder)])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "latest.safetensors" in err


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--episodes", "0"], [".", "--checkpoint", "first"]])
def test_evaluation_mistakes_are_one_line(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        evaluate.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
