"""A checkpoint may be anybody's: it chooses among our options, and calls, imports and reads nothing else."""

import os
import sys
from pathlib import Path

import pytest

import ppo
from envs.base import EnvError
from ppo import evaluate, export
from ppo.config.foreign import foreign
from ppo.config.options import ConfigError, plain
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.train import train

SECRET = "5ec2e7" * 6
EVIL = "import pathlib; pathlib.Path('{}').touch()\ndef halved(action, space): return action / 2\n"


@pytest.fixture
def forged(config, tmp_path, monkeypatch):
    """A factory of checkpoints, trained and then given another configuration; ``evil.py`` can be imported and says so.

    ``changes``: by dotted name.
    """
    train(config("total_steps=128", "epochs=1", "eval.every=0"), Run(tmp_path / "run", "run", {}))
    tensors, meta = checkpoint.load(checkpoint.find(tmp_path / "run"))
    (tmp_path / "evil.py").write_text(EVIL.format(tmp_path / "exploded"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)

    def make(changes: dict) -> Path:
        for name, value in changes.items():
            *path, last = name.split(".")
            node = meta
            for key in path:
                node = node[key]
            node[last] = value
        checkpoint.save(tmp_path / "forged.safetensors", tensors, meta)
        return tmp_path / "forged.safetensors"

    return make


FORGERIES = [
    ({"config.env._target_": "os.system"}, "env._target_: 'os.system' is no option of env"),
    ({"config.network": {"_target_": "subprocess.run"}}, "no option of network"),
    ({"config.action._target_": "ppo.run.checkpoint.os.system"}, "no option of action"),
    ({"config.env._target_": "ppo.cli.main"}, "no option of env"),  # ours, but not for this
    ({"config.action._target_": "evil.halved"}, "no option of action"),
    ({"config.action._target_": "evil.halved", "config.trust": ["evil"]}, "no option of action"),
    ({"config.action._target_": ["os.system"]}, "no option of action"),
    ({"config.env": {"_target_": "envs.gym.gym", "id": "evil:Env-v0"}}, "env.id=evil:Env-v0 is in evil"),
    ({"config.env": {"_target_": "envs.gym.gym", "id": "${oc.env:WANDB_API_KEY}"}}, "env.id: an interpolation"),
    ({"config.env": {"_target_": "envs.gym.gym", "id": "a", "kwargs": {"${oc.env:HOME}": 1}}}, "an interpolation"),
    ({"config.network.actor": [10**12]}, "network: "),
    ({"config.network.actor": 7}, "network.actor"),
    ({"config.threads": "many"}, "threads=many"),
    ({"config.env": None}, "env: no option chosen"),
    ({"config": None}, "holds no configuration"),
    ({"config": {}}, "no option chosen"),
]


@pytest.mark.parametrize(("changes", "said"), FORGERIES, ids=lambda x: str(x) if isinstance(x, dict) else "")
@pytest.mark.parametrize("main", [evaluate.main, export.main], ids=["evaluate", "export"])
def test_a_forged_checkpoint_is_refused_in_one_line_and_runs_nothing(forged, tmp_path, capsys, main, changes, said):
    if main is export.main:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    path = forged(changes)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(path)])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert SECRET not in err and not (tmp_path / "exploded").exists()


def test_a_package_of_ones_own_is_called_once_it_is_trusted(forged, tmp_path, capsys):
    path = forged({"config.action._target_": "evil.halved"})
    evaluate.main([str(path), "--trust", "evil", "--episodes", "1"])
    assert "return" in capsys.readouterr().out and (tmp_path / "exploded").exists()


def test_trust_is_of_whole_packages(config):
    own = plain(config("env=gym", "env.id=mine.worlds:Maze-v0"))
    assert foreign(own, ["mine"], Path("x")).trust == ["mine"]
    for trust in ([], ["min"], ["mine.worlds.maze"]):
        with pytest.raises(ConfigError, match="only if you trust it: --trust mine"):
            foreign(own, trust, Path("x"))


@pytest.mark.parametrize("text", ["", "[]", "7", '{"config": {}}}', "[" * 100_000])
def test_what_is_beside_the_tensors_must_be_an_object(tmp_path, text, monkeypatch):
    monkeypatch.setattr(checkpoint.json, "dumps", lambda meta: text)
    checkpoint.save(tmp_path / "odd", {}, {})
    with pytest.raises(checkpoint.CheckpointError, match="no JSON object"):
        checkpoint.load(tmp_path / "odd")
    assert os.listdir(tmp_path) == ["odd"]


def test_a_run_folder_names_no_package_that_resuming_it_would_import(config, tmp_path, monkeypatch):
    """Unless the person trusts it, or names it too."""
    train(
        config("env=gym", "env.id=Pendulum-v1", "total_steps=128", "epochs=1", "eval.every=0"),
        Run(tmp_path / "run", "run", {}),
    )
    (tmp_path / "evil.py").write_text(EVIL.format(tmp_path / "exploded"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)  # another test's
    file = tmp_path / "run" / "config.yaml"
    file.write_text(file.read_text().replace("Pendulum-v1", "evil:Evil-v0"))
    words = (f"resume={tmp_path / 'run'}", "total_steps=256")
    with pytest.raises(ConfigError, match=r"run: env.id=evil:Evil-v0 is in evil, .* resume=, .*: trust=\[evil\]"):
        ppo.fit(*words)
    assert not (tmp_path / "exploded").exists() and "evil" not in sys.modules
    for more in ("trust=[evil]", "env.id=evil:Evil-v0"):
        with pytest.raises((ConfigError, EnvError), match="Evil|env.id") as error:
            ppo.fit(*words, more)
        assert "only if you trust it" not in str(error.value)
    assert (tmp_path / "exploded").exists()
    sys.modules.pop("evil")
