"""A model file's age is nobody's business here; everything else that MuJoCo warns of is said."""

import ctypes

import pytest

pytest.importorskip("mujoco")

import mujoco

from envs.mujoco import share
from envs.mujoco.model import compiling
from ppo.config.options import option


def test_no_line_for_every_sub_environment(capfd):
    env = option("env", "mujoco", id="HalfCheetah-v5")(4, 0)
    env.close()
    assert "deprecated" not in capfd.readouterr().err


def test_other_warnings_are_said_and_the_hook_is_given_back(capfd):
    heard = []
    warn = share._physics().mju_warning
    warn.argtypes = [ctypes.c_char_p]
    mujoco.set_mju_user_warning(heard.append)
    try:
        with compiling():
            warn(b"the floor is gone")
            warn(b"floors is deprecated")
        warn(b"later")
    finally:
        mujoco.set_mju_user_warning(None)
    assert capfd.readouterr().err == "WARNING: the floor is gone\n" and heard == ["later"]
