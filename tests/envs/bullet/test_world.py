import pytest

pytest.importorskip("pybullet")

import pybullet

from envs.bullet.world import World


def test_a_world_never_looks_for_a_shared_memory_server(monkeypatch):
    """A stale segment of a killed one can make the look last for ever."""
    modes, connect = [], pybullet.connect
    monkeypatch.setattr(pybullet, "connect", lambda mode, *rest, **more: (modes.append(mode), connect(mode))[1])
    World(gravity=9.8, time_step=0.01, substeps=1).close()
    assert modes == [pybullet.DIRECT]
