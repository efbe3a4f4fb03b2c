"""A disk that is full, read-only or gone ends the run in one line; the last whole checkpoint is there to go on from."""

import errno
import resource
import shutil
from pathlib import Path

import pytest
import torch

import ppo.train
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.folder import DiskError
from ppo.train import train

WORDS = ("env.task=target", "total_steps=640")


@pytest.fixture
def go(config, tmp_path, monkeypatch):
    """Train in a folder; ``fault`` happens before the third update learns."""
    original = ppo.train.update

    def run(fault=lambda: None, name: str = "run") -> None:
        calls = 0

        def update(*args, **options):
            nonlocal calls
            calls += 1
            if calls == 3:
                fault()
            return original(*args, **options)

        monkeypatch.setattr(ppo.train, "update", update)
        train(config(*WORDS), Run(tmp_path / name, name, {}))

    return run


def the_same(one, other):
    tensors, tensors_too = (checkpoint.load(checkpoint.find(folder))[0] for folder in (one, other))
    return tensors.keys() == tensors_too.keys() and all(torch.equal(tensors[k], tensors_too[k]) for k in tensors)


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_goes_on_from_it(go, tmp_path):
    """No file may grow beyond a limit: the checkpoint of update 3 is torn in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "run"

    def fill():
        size = checkpoint.find(folder).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 500, limits[1]))

    try:
        with pytest.raises(
            DiskError, match=r"cannot write .*: File too large; the checkpoint of update 2 is whole"
        ) as error:
            go(fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert checkpoint.load(checkpoint.find(folder))[1]["progress"]["updates"] == 2
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"latest.safetensors", "previous.safetensors"}
    go()
    go(name="whole")
    assert the_same(folder, tmp_path / "whole")


def test_a_folder_that_is_deleted_does_not_come_back_in_part(go, tmp_path):
    with pytest.raises(DiskError, match=r"cannot write .*checkpoints: No such file or directory"):
        go(lambda: shutil.rmtree(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_disk_that_turns_read_only(go, tmp_path, monkeypatch):
    """Injected: root, who runs tests in a container, may write anywhere."""

    right = Path.open

    def refuse(path, mode="r", *args, **options):
        if "safetensors" in path.name and "w" in mode:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return right(path, mode, *args, **options)

    with pytest.raises(DiskError, match="Read-only file system; the checkpoint of update 2 is whole"):
        go(lambda: monkeypatch.setattr(Path, "open", refuse))
    monkeypatch.undo()
    assert checkpoint.load(checkpoint.find(tmp_path / "run"))[1]["progress"]["updates"] == 2


def test_a_folder_that_cannot_be_made_is_one_line(monkeypatch, capsys):
    import sys

    from ppo import cli

    monkeypatch.setattr(sys, "argv", ["ppo-train", "logger=none", "env=probe", "hydra.run.dir=/proc/nowhere/run"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.startswith("error: /proc/nowhere") and err.count("\n") == 1
