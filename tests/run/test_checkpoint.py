"""Checkpoints: whole or refused, atomic, never unpickled."""

import os
import pickle
import sys
from typing import NamedTuple

import pytest
import torch

from ppo.buffer.rewards import RewardScale
from ppo.run import checkpoint
from ppo.run.checkpoint import CheckpointError
from ppo.update.optim import Learner

TENSORS = {"a": torch.arange(5.0), "b": torch.ones(2, 2, dtype=torch.int64), "c": torch.zeros(())}
META = {"progress": {"env_steps": 4096, "kl": None}, "config": {"seed": 1}}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "latest.safetensors"
    checkpoint.save(path, TENSORS, META)
    return path


def test_what_was_saved_is_loaded(saved):
    tensors, meta = checkpoint.load(saved)
    assert meta == META and set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[k], TENSORS[k]) and tensors[k].dtype == TENSORS[k].dtype for k in TENSORS)


def test_nested_tuples_come_back_bit_for_bit():
    scale = RewardScale.empty(3).update(torch.randn(7, 3), torch.rand(7, 3) < 0.5, gamma=0.9)
    back = checkpoint.from_leaves(RewardScale.empty(3), checkpoint.to_leaves(scale, "x"), "x")
    assert torch.equal(back.discounted, scale.discounted)
    assert all(torch.equal(x, y) for x, y in zip(back.moments, scale.moments, strict=True))


def test_whatever_fields_a_state_has_come_back():
    """Tensors and plain values side by side, nested: a new field of the run's state needs no code here."""

    class Inner(NamedTuple):
        beta: float | None
        table: torch.Tensor

    class Outer(NamedTuple):
        inner: Inner
        updates: int

    def fill(*values):
        return Outer(Inner(values[0], torch.tensor(values[1])), values[2])

    leaves = checkpoint.to_leaves(fill(0.1, [1.0, 2.0], 7))
    assert set(leaves) == {"inner.beta", "inner.table", "updates"}
    back = checkpoint.from_leaves(fill(None, [0.0, 0.0], 0), leaves)
    assert back.inner.beta == 0.1 and back.updates == 7 and back.inner.table.tolist() == [1.0, 2.0]
    with pytest.raises(CheckpointError, match="holds no inner.table"):
        checkpoint.from_leaves(back, {"inner.beta": 0.1, "updates": 7})


def test_every_single_flipped_bit_is_noticed(saved):
    """In the tensors and in what is written beside them: a wrong step count resumes as quietly as a wrong weight."""
    good = saved.read_bytes()
    for i in range(len(good)):
        flipped = bytearray(good)
        flipped[i] ^= 1 << (i % 8)
        saved.write_bytes(flipped)
        with pytest.raises(CheckpointError) as error:
            checkpoint.load(saved)
        assert "\n" not in str(error.value)


def test_a_tensor_under_another_name_is_noticed(saved):
    saved.write_bytes(saved.read_bytes().replace(b'"c"', b'"d"'))
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(saved)


def test_every_truncation_is_noticed(saved):
    good = saved.read_bytes()
    for length in range(0, len(good), 7):
        saved.write_bytes(good[:length])
        with pytest.raises(CheckpointError):
            checkpoint.load(saved)


def test_missing_foreign_and_pickled_files_are_refused(tmp_path, saved):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "nothing.safetensors")
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        checkpoint.load(tmp_path / "foreign")


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for name, write in (("pickle", lambda f: pickle.dump(Bomb(), f)), ("torch", lambda f: torch.save(Bomb(), f))):
        with open(tmp_path / name, "wb") as file:
            write(file)
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_other_shapes_types_and_names_are_refused():
    tensors = checkpoint.to_leaves(Learner.start(torch.zeros(5)), "learner")
    for template, word in ((torch.zeros(6), "learner.params"), (torch.zeros(5).double(), "float64")):
        with pytest.raises(CheckpointError, match=word):
            checkpoint.from_leaves(Learner.start(template), tensors, "learner")
    del tensors["learner.m"]
    with pytest.raises(CheckpointError, match="holds no learner.m"):
        checkpoint.from_leaves(Learner.start(torch.zeros(5)), tensors, "learner")


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_old_checkpoint_whole_and_no_litter(saved, monkeypatch, moment):
    def crash(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, moment, crash)
    with pytest.raises(OSError, match="disk"):
        checkpoint.save(saved, {"a": torch.zeros(5)}, {})
    assert checkpoint.load(saved)[1] == META
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(saved, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, f=original, n=name: (done.append(n), f(*a)))
    checkpoint.save(saved, TENSORS, META)
    assert done[:2] == ["fsync", "replace"]


def test_a_run_folder_stands_for_its_latest_checkpoint(tmp_path, saved):
    assert checkpoint.find(tmp_path) == saved == checkpoint.find(saved)
    assert checkpoint.find(tmp_path, "best").name == "best.safetensors"


@pytest.mark.parametrize("call", ["os:link", "os:replace", "os:unlink", "shutil:copyfile"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_wherever_a_kill_falls_the_last_two_are_whole(saved, monkeypatch, call, at, done):
    """A process ends at the first or second call that changes a name, before or after it did so."""
    previous = checkpoint.before(saved)

    def save(number: int) -> None:
        checkpoint.save(saved, TENSORS, META | {"number": number}, keep=previous)

    def numbers() -> list[int]:
        return [checkpoint.load(path)[1]["number"] for path in (saved, previous)]

    save(1), save(2)
    child = os.fork()
    if child == 0:
        holder, name = sys.modules[call.partition(":")[0]], call.partition(":")[2]
        original, left = getattr(holder, name), iter(range(at - 1, -1, -1))

        def last(*arguments, **options):
            ends = next(left, None) == 0
            if ends and not done:
                os._exit(9)
            original(*arguments, **options)
            if ends:
                os._exit(9)

        def unlinkable(*_):
            raise OSError

        monkeypatch.setattr(holder, name, last)
        if call == "shutil:copyfile":
            monkeypatch.setattr(os, "link", unlinkable)
        try:
            save(3)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert numbers() in ([2, 1], [3, 1], [3, 2]) and not saved.samefile(previous)
    save(4)
    assert numbers() in ([4, 2], [4, 3])
    checkpoint.remove_torn(saved.parent)
    assert {path.name for path in saved.parent.iterdir()} == {saved.name, previous.name}
