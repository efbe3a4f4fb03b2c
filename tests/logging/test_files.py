"""A small file is the old one or the new one, and nothing lies beside it."""

import os
import re

import pytest

from ppo.logging.files import write_atomically
from tests.conftest import ROOT


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "größe.json"
    write_atomically(path, "ä\n")
    write_atomically(tmp_path / ("x" * 255), b"\x00")
    assert path.read_bytes() == "ä\n".encode() and len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call):
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("run.json", "old")]


def test_no_other_place_writes_a_small_file():
    """Half of a checksum, a picture or a verdict is worse than none."""
    direct = re.compile(r"\.write_(text|bytes)\(|\.savefig\((?!picture,)")
    lines = [(path.name, line.strip()) for path in ROOT.glob("ppo/**/*.py") for line in path.read_text().splitlines()]
    assert [found for found in lines if direct.search(found[1])] == []
