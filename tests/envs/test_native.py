"""C of our own: compiled once, kept, and never needed."""

import ctypes
import os
from pathlib import Path

import pytest

from envs import native

TWICE = "double twice(double x) { return 2 * x; }\n"


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "twice.c"
    file.write_text(TWICE)
    native.load.cache_clear()
    return file


def twice(library: ctypes.CDLL | None, x: float) -> float:
    assert library is not None
    library.twice.restype, library.twice.argtypes = ctypes.c_double, [ctypes.c_double]
    return library.twice(x)


def test_a_source_is_compiled_once(source, monkeypatch):
    assert twice(native.load(source), 1.5) == 3.0
    native.load.cache_clear()
    monkeypatch.setattr(native, "_compile", None)  # would fail if it were called
    assert twice(native.load(source), 2.0) == 4.0


def test_another_source_of_the_same_name_is_another_library(source):
    assert twice(native.load(source), 1.0) == 2.0
    source.write_text(TWICE.replace("2 *", "3 *"))
    native.load.cache_clear()
    assert twice(native.load(source), 1.0) == 3.0


def test_without_a_compiler_there_is_none(source, monkeypatch):
    monkeypatch.setenv("PATH", str(source.parent))
    assert native.load(source) is None


@pytest.mark.parametrize("text", ["double twice(double x) { return y; }\n"])
def test_a_source_that_does_not_compile_is_said_and_leaves_nothing(source, text, capsys):
    source.write_text(text)
    assert native.load(source) is None
    assert "twice.c: not compiled, the run goes on in Python" in capsys.readouterr().err
    assert os.listdir(native.cache_folder()) == []


def test_a_cache_that_cannot_be_written_is_said(source, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(source))  # a file
    assert native.load(source) is None
    assert "twice.c: not compiled" in capsys.readouterr().err
