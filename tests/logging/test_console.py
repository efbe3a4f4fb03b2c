"""The console: plain lines in a pipe, a bar in a terminal, and the terminal as it was afterwards."""

import io
import os
import pty
import re
import subprocess
import sys
import textwrap

import pytest

from ppo.logging.console import Console

ROW = {"train/return": 1234.56, "kl/final": 0.034, "speed/total": 1830.4}


class Clock:
    """Stands in for time.monotonic."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("ppo.logging.console.time.monotonic", clock)
    return clock


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_that_is_not_utf8_costs_letters_only(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    with Console(1000, stream=stream) as console:
        console.line("größe: KL(old‖new), (change of mean / sigma)²")
        console.update(ROW, 1000)
    assert b": KL(old?new), (change of mean / sigma)" in stream.buffer.getvalue()


def test_without_a_terminal_short_lines_now_and_then(clock, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # must not put colours into a pipe
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    out = io.StringIO()
    with Console(1000, stream=out, every=60) as console:
        for step in range(100, 1000, 100):
            clock.now += 10
            console.update(ROW | ({"eval/return": 50.0} if step == 300 else {}), step)
        console.line("stop: [k3] 0.031 > 0.015")
        clock.now += 10
        console.update({"kl/final": float("nan")}, 1000)
    console.close()
    text = out.getvalue()
    assert all(c.isprintable() or c == "\n" for c in text)
    tail = "return 1,234.6  eval 50.0  1,830 steps/s  KL"
    assert text.splitlines() == [
        f"300/1,000 steps  30%  0:01:10 left  {tail} 0.0340 problem: lower lr or target_kl",
        f"900/1,000 steps  90%  0:00:10 left  {tail} 0.0340 problem: lower lr or target_kl",
        "stop: [k3] 0.031 > 0.015",
        f"1,000/1,000 steps  100%  0:01:40 taken  {tail} nan critical: lower lr, target_kl or the clip range",
    ]


def test_a_stopped_update_is_a_word_in_the_line_and_the_next_one_takes_it_away():
    out = io.StringIO()
    with Console(1000, stream=out, every=0) as console:
        console.update({"update/stop": "minibatch", "stop/epoch": 3}, 500)
        console.update({"update/stop": "none"}, 1000)
    assert [line.endswith("stopped in epoch 3") for line in out.getvalue().splitlines()] == [True, False]


def test_a_resumed_run_reckons_with_its_own_speed(clock):
    out = io.StringIO()
    console = Console(1000, 800, stream=out)
    clock.now += 10
    console.update({"eval/return": 1.0}, 900)
    assert out.getvalue() == "900/1,000 steps  90%  0:00:10 left  eval 1.0\n"


def test_a_closed_pipe_does_not_end_the_run():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Console(10, stream=Closed()) as console:
        console.line("a")
        console.update(ROW | {"eval/return": 1.0}, 5)


def terminal(script, term="xterm"):
    """Run ``script`` in a pseudo-terminal; return what the terminal received and the exit status."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=child,
        stdout=child,
        stderr=child,
        env=os.environ | {"TERM": term, "COLUMNS": "80", "TTY_COMPATIBLE": "0"},
    )
    os.close(child)
    received = b""
    try:
        while chunk := os.read(parent, 65536):
            received += chunk
    except OSError:  # Linux says EIO when the last writer is gone
        pass
    os.close(parent)
    return received.decode(), process.wait(30)


SCRIPT = """
    import sys
    from ppo.logging.console import Console
    before = sys.stdout, sys.stderr
    try:
        with Console(1000) as console:
            console.update({"train/return": 5.0, "kl/final": 0.012, "speed/total": 9.0}, 500)
            console.line("stop: [k3]")
            print("printed")
            END
    finally:
        assert (sys.stdout, sys.stderr) == before
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(5)", -2),
    ],
)
def test_the_terminal_is_given_back_whatever_happens(end, status):
    received, code = terminal(SCRIPT.replace("END", end))
    assert code == status, received
    assert received.count("\x1b[?25l") == 1
    assert received.rindex("\x1b[?25h") > received.rindex("\x1b[?25l")  # the cursor is shown again
    assert "500/1,000 steps  50%" in received and "KL 0.0120 \x1b[36mfine" in received
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", received)
    assert "stop: [k3]\n" in plain and "printed\n" in plain  # above the bar, whole, brackets kept


def test_a_dumb_terminal_gets_plain_lines():
    received, code = terminal(SCRIPT.replace("END", "pass"), term="dumb")
    assert code == 0
    assert "\x1b" not in received and "500/1,000 steps  50%" in received
