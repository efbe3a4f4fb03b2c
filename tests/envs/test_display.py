import socket
import sys

import pytest

from envs.base import EnvError
from envs.bullet.pendulum import InvertedPendulum
from envs.display import missing_display
from envs.gym import gym

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="windows open by other means there")


@pytest.fixture(autouse=True)
def no_display(monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)


def test_a_window_without_a_display_is_refused_with_the_way_out(monkeypatch):
    """Libraries hang or abort there."""
    for display, says in ((None, "is not set"), (":7531", "display :7531 .* does not answer")):
        if display:
            monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(EnvError, match=f"{says}.*render_mode=rgb_array.*--video"):
            InvertedPendulum("human")
        with pytest.raises(EnvError, match=says):
            gym(1, 0, id="Pendulum-v1", kwargs={}, wrappers=[], render_mode="human")


def test_a_display_that_answers_is_one(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind("\0/tmp/.X11-unix/X7532")
        server.listen()
        monkeypatch.setenv("DISPLAY", ":7532.0")
        assert missing_display() is None


def test_an_environment_that_takes_no_render_mode_is_told_so():
    with pytest.raises(EnvError, match="takes no render_mode"):
        gym(1, 0, id="tests.envs.toy:Unseen-v0", kwargs={}, wrappers=[], render_mode="rgb_array")
