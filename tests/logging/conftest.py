"""Shared by the wandb tests."""

import os
import threading

import pytest

from tests.logging.server import KEY, Server


@pytest.fixture
def logged_out(tmp_path, monkeypatch):
    """A machine on which nobody is logged in; wandb reads its environment once per process, so it is torn down."""
    sdk = pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    monkeypatch.chdir(tmp_path)  # wandb/settings of the working directory counts too
    sdk.teardown()
    yield
    sdk.teardown()


@pytest.fixture
def server(logged_out, monkeypatch):
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server
        server.over.set()
        server.shutdown()
