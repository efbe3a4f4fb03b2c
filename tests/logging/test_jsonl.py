"""metrics.jsonl: rows survive being killed, non-finite numbers stay valid JSON, and a full disk is an error."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo.logging.jsonl import Jsonl, read


def write(path, *rows):
    file = Jsonl(path)
    for row in rows:
        file.log(row)
    file.close()


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@given(
    st.dictionaries(
        st.sampled_from(["kl/exact", "loss/total", "grad/norm", "kl/mean_part/3"]), st.floats() | st.integers()
    )
)
def test_any_number_comes_back(tmp_path_factory, row):
    path = tmp_path_factory.mktemp("any") / "metrics.jsonl"
    write(path, row)
    (line,) = path.read_text().splitlines()
    json.loads(line, parse_constant=refuse)
    (back,) = read(path)
    assert back.keys() == row.keys()
    for name, value in row.items():
        assert back[name] == value or (math.isnan(back[name]) and math.isnan(value))
        assert type(back[name]) is type(value)


def test_each_row_is_in_the_file_when_log_returns(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = Jsonl(path)
    file.log({"update": 1, "update/stop": "none"})
    assert read(path) == [{"update": 1, "update/stop": "none"}]
    file.close()
    file.close()


def test_numpy_scalars_are_numbers_and_anything_else_is_refused_before_writing(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, {"lr": np.float32(0.5), "env_steps": np.int64(7)})
    assert read(path) == [{"lr": 0.5, "env_steps": 7}]
    file = Jsonl(path)
    with pytest.raises(TypeError, match=r"'kl/exact' is a ndarray"):
        file.log({"lr": 1.0, "kl/exact": np.zeros(2)})
    with pytest.raises(ValueError, match="'kl/exakt' is not declared"):
        file.log({"kl/exakt": 1.0})
    file.close()
    assert len(read(path)) == 1


@pytest.mark.parametrize("torn", [b'{"update": 3, "lr": 0.', b'{"update": 3}'])
def test_a_torn_last_line_is_left_out_and_never_glued_to_the_next(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    write(path, {"update": 1}, {"update": 2})
    with path.open("ab") as file:
        file.write(torn)  # without its newline a line was not finished, even where it parses
    assert [row["update"] for row in read(path)] == [1, 2]
    write(path, {"update": 3, "lr": 0.25})
    assert read(path) == [{"update": 1}, {"update": 2}, {"update": 3, "lr": 0.25}]


def test_damage_elsewhere_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"update": 1}\n{"upd\n{"update": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not a row"):
        read(path)


def test_updates_done_over_after_a_resume_count_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, {"update": 1}, {"update": 2, "lr": 0.1}, {"update": 3, "lr": 0.1})
    write(path, {"update": 2, "lr": 0.2})
    assert read(path) == [{"update": 1}, {"update": 2, "lr": 0.2}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_with_the_path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    os.symlink("/dev/full", path)
    file = Jsonl(path)
    with pytest.raises(OSError, match=r"No space.*metrics\.jsonl"):
        file.log({"update": 1})
    file.close()


def test_what_is_measured_later_joins_the_last_row(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, {"update": 1, "lr": 0.1}, {"update": 2, "lr": 0.2})
    file = Jsonl(path)
    file.extend({"eval/return": math.inf, "eval/best": 3.0})
    file.log({"update": 3})
    file.extend({"eval/return": 1.0})
    file.close()
    added = {"eval/return": math.inf, "eval/best": 3.0}
    assert read(path) == [{"update": 1, "lr": 0.1}, {"update": 2, "lr": 0.2} | added, {"update": 3, "eval/return": 1.0}]
    assert len(path.read_text().splitlines()) == 3


def test_a_row_that_cannot_be_extended_stays_as_it_is(tmp_path, monkeypatch):
    """A nearly full disk takes a part of it."""
    path, original = tmp_path / "metrics.jsonl", os.pwrite
    write(path, {"update": 1})
    before, file, calls = path.read_bytes(), Jsonl(path), []

    def nearly_full(descriptor, data, offset):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(descriptor, data[:9], offset)

    monkeypatch.setattr(os, "pwrite", nearly_full)
    with pytest.raises(OSError, match=r"No space.*metrics\.jsonl"):
        file.extend({"eval/return": 1.0})
    file.close()
    assert path.read_bytes() == before
