"""Where pictures are drawn: a window needs a display, a picture without one a library that draws off screen."""

import os
import socket
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

from envs.base import EnvError


def check_window(render_mode: str | None) -> None:
    """EnvError where ``render_mode`` asks for a window that cannot be opened here: libraries hang or abort then."""
    if render_mode == "human" and (missing := missing_display()):
        raise EnvError(
            f"render_mode=human opens a window, and {missing}; draw without one: render_mode=rgb_array, "
            "or film a run: python -m ppo.evaluate RUN --video FILE.mp4"
        )


def missing_display() -> str | None:
    """Why no window can be opened here, as a clause; None where one can, as far as can be known."""
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return None
    display = os.environ.get("DISPLAY")
    if not display:
        return "there is no display here ($DISPLAY is not set)"
    return None if _answers(display) else f"the display {display} ($DISPLAY) does not answer"


def _answers(display: str) -> bool:
    """Whether an X server listens at ``[host]:number[.screen]``. What cannot be parsed is left to the library."""
    host, _, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    if not number.isdigit():
        return True
    local = f"/tmp/.X11-unix/X{number}"
    places: list[tuple[int, str | tuple[str, int]]]
    if host in ("", "unix"):
        places = [(socket.AF_UNIX, local), (socket.AF_UNIX, f"\0{local}")]
    else:
        places = [(socket.AF_INET, (host, 6000 + int(number)))]
    for family, address in places:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(3.0)
            try:
                probe.connect(address)
            except OSError:
                continue
            return True
    return False


def draw_off_screen(render_mode: str | None) -> None:
    """Without a display, let MuJoCo draw by what works here: EGL (a GPU's driver, or Mesa), else OSMesa.

    Whoever has set ``MUJOCO_GL`` has chosen. Where neither works nothing is set, and MuJoCo says so when it draws.
    """
    if render_mode != "rgb_array" or os.environ.get("MUJOCO_GL") or not sys.platform.startswith("linux"):
        return
    if find_spec("mujoco") is not None and missing_display() and (name := _off_screen()):
        os.environ["MUJOCO_GL"] = name


@cache
def _off_screen() -> str | None:
    """The first that opens, each in a process of its own: one that failed spoils the other, and may abort."""
    for name in ("egl", "osmesa"):
        script = f"from mujoco.{name} import GLContext; GLContext(8, 8).make_current()"
        try:
            tried = subprocess.run(
                [sys.executable, "-c", script],
                env=os.environ | {"MUJOCO_GL": name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if tried.returncode == 0:
            return name
    return None
