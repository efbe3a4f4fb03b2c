"""The exported policy acts as the one that was trained, and says what it is."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from ppo import export
from ppo.config.extras import needs
from ppo.evaluate import play
from ppo.logging.base import Run
from ppo.run import checkpoint, onnx_file
from ppo.run.policy import restored
from ppo.train import train
from tests.envs.toy import Buttons

ROOT = Path(__file__).parents[1]
WORDS = {
    "mlp, clip": ("normalise.obs=true", "network.activation=gelu"),
    "gsde, tanh": ("network=gsde", "network.actor=[16]", "network.critic=[16]", "action=tanh", "normalise.obs=false"),
}
needs_onnx = pytest.mark.skipif(
    any(onnx_file.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs extra export",
)


@pytest.fixture
def run(config, tmp_path):
    """A factory of run folders of Pendulum-v1, whose actions are in [-2, 2]."""

    def make(*words: str) -> Path:
        small = ("env=gym", "env.id=Pendulum-v1", "total_steps=128", "epochs=1", "eval.episodes=1", "eval.every=0")
        train(config(*small, *words), Run(tmp_path / "run", "run", {}))
        return tmp_path / "run"

    return make


@needs_onnx
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_file_acts_as_the_policy_does_and_says_what_it_is(run, words):
    import onnx
    import onnxruntime

    folder = run(*words)
    said = onnx_file.export(folder, folder / "policy.onnx", observations=300)
    assert said["max_difference"] < 1e-6 and said["observations"] == 300
    assert said["sha256"] == hashlib.sha256((folder / "policy.onnx").read_bytes()).hexdigest()
    assert json.loads((folder / "policy.json").read_text()) == said

    meta = checkpoint.load(checkpoint.find(folder))[1]
    config_hash = hashlib.sha256(json.dumps(meta["config"], sort_keys=True).encode()).hexdigest()
    model = onnx.load(folder / "policy.onnx")
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["config_hash"] == said["config_hash"] == config_hash
    assert json.loads(about["action_low"]) == [-2.0] and json.loads(about["action_high"]) == [2.0]
    assert str(ROOT).encode() not in (folder / "policy.onnx").read_bytes()

    # Far outside of what was recorded, in batches of other sizes, and a whole episode.
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    far = np.random.default_rng(0).normal(scale=50, size=(7, 3)).astype(np.float32)
    with restored(checkpoint.find(folder), 2) as policy, torch.no_grad():
        (found,) = session.run(None, {"obs": far})
        np.testing.assert_allclose(found, policy(torch.tensor(far))[0], atol=1e-6)
        expected = play(policy.envs, policy, 3)
        played = play(policy.envs, lambda obs, memory: (session.run(None, {"obs": obs.numpy()})[0], memory), 3)
    np.testing.assert_allclose(played, expected, rtol=1e-4)


@pytest.mark.slow
@needs_onnx
def test_a_discrete_policy_gives_the_number_of_its_action(run):
    import onnxruntime

    folder = run("env.id=CartPole-v1", "network=categorical")
    said = onnx_file.export(folder, folder / "policy.onnx", observations=100)
    assert (said["max_difference"], said["action_low"], said["action_high"]) == (0, [0], [1])
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    (action,) = session.run(None, {"obs": np.zeros((3, 4), np.float32)})
    assert action.shape == (3,) and action.dtype == np.int64


@needs_onnx
def test_several_discrete_actions_are_exported_as_their_space_has_them(run, monkeypatch):
    """Each counted from where it begins."""
    import onnxruntime

    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Buttons-v0", Buttons)
    folder = run("env.id=Buttons-v0", "network=categorical")
    said = export.export(folder, folder / "policy.onnx", observations=40)
    assert (said["max_difference"], said["action_low"], said["action_high"]) == (0, [0, -1, 5], [1, 1, 8])
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    (action,) = session.run(None, {"obs": np.zeros((7, 3), np.float32)})
    assert action.shape == (7, 3) and action.dtype == np.int64


def test_a_file_that_acts_otherwise_is_not_written(run, monkeypatch, capsys):
    """The check is made in another process, by another runtime, against what PyTorch did."""
    pytest.importorskip("onnxruntime")
    folder = run()
    (tmp := folder / "other").mkdir()

    def write(policy, about, path):
        with torch.no_grad():
            policy.network.actor[-1].bias += 0.1
        right(policy, about, path)

    right = onnx_file._write
    monkeypatch.setattr(onnx_file, "_write", write)
    with pytest.raises(SystemExit) as stop:
        export.main([str(folder), "--out", str(tmp / "policy.onnx"), "--observations", "20"])
    assert stop.value.code == 2 and "differs by 0." in capsys.readouterr().err
    assert list(tmp.iterdir()) == []


def test_what_lies_where_the_certificate_would_is_not_written_over(run, capsys):
    """``--out run.onnx`` in a run folder: its run.json is not the export's."""
    pytest.importorskip("onnxruntime")
    folder = run()
    before = (folder / "run.json").read_bytes()
    with pytest.raises(SystemExit) as stop:
        export.main([str(folder), "--out", str(folder / "run.onnx"), "--observations", "20"])
    assert stop.value.code == 2 and "run.json: is there, and no certificate" in capsys.readouterr().err
    assert (folder / "run.json").read_bytes() == before and not (folder / "run.onnx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.safetensors"], "nowhere.safetensors: no such checkpoint"),
        (["RUN", "--observations", "0"], "--observations 0: must be at least 1"),
        (["RUN", "--out", "policy.pt"], "must end in .onnx"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, words, said):
    words = [str(tmp_path) if word == "RUN" else word for word in words]
    with pytest.raises(SystemExit) as stop:
        export.main(words)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and err.startswith("error: ") and said in err


def test_without_the_extra_one_line_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(onnx_file.ExportError, match="^" + re.escape(needs("export (onnxscript)", "export")) + "$"):
        onnx_file.export(tmp_path, tmp_path / "policy.onnx")


@needs_onnx
def test_the_check_needs_neither_this_package_nor_pytorch():
    script = "import sys, runpy; runpy.run_path(sys.argv[1]); sys.exit(sum(m in sys.modules for m in ('torch', 'ppo')))"
    subprocess.run(
        [sys.executable, "-I", "-c", script, str(ROOT / "ppo" / "run" / "onnx_check.py")], check=True, cwd="/"
    )
