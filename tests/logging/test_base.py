"""Loggers in general: a failing one costs its dashboard, never the run."""

import io

import pytest

from ppo.logging.base import Forgiving, Run, fitting, lossy
from ppo.logging.none import none


class Broken:
    run_id, keeps = "abc", False

    def __init__(self):
        self.calls = 0

    def log(self, row, env_steps):
        self.calls += 1
        raise ConnectionError("server gone\nwith a long story")

    def close(self, summary, failed):
        raise OSError("disk full")


def test_a_failing_logger_is_told_of_once_and_tried_again(capsys):
    broken = Broken()
    logger = Forgiving(broken)
    assert logger.run_id == "abc"
    for step in range(3):
        logger.log({}, step)
    logger.close({}, False)
    out, err = capsys.readouterr()
    assert broken.calls == 3
    assert out == ""
    assert err == "broken: failed, the run goes on: server gone\n"


def test_an_interrupt_is_not_a_failing_logger():
    class Interrupted(Broken):
        def log(self, row, env_steps):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Forgiving(Interrupted()).log({}, 0)


def test_what_a_stream_cannot_encode_is_replaced():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    lossy(stream, io.StringIO())
    print("KL(old‖new)² of größe", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"KL(old?new)? of gr??e\n"


def test_none_keeps_nothing(tmp_path):
    logger = none(Run(tmp_path, "a run", {}))
    logger.log({"update": 1}, 8)
    logger.close({}, False)
    assert logger.run_id is None
    assert list(tmp_path.iterdir()) == []


def test_a_name_fits_a_service_and_stays_distinct():
    long = [f"{'kl=exact,' * 20}seed={seed}" for seed in (1, 2)]
    cut = [fitting(name, 64) for name in long]
    assert [len(name) for name in cut] == [64, 64] and cut[0] != cut[1]
    assert fitting("kl=exact", 64) == "kl=exact" and fitting("x" * 64, 64) == "x" * 64
