"""Two legs in a plane: falls when its torso is low or bent."""

import gymnasium

from envs.base import Envs, VectorEnv
from envs.bullet.locomotion import Locomotion, Walker, locomotion
from envs.bullet.task import RenderMode


def _alive(height: float, pitch: float, contacts: list[float]) -> bool:
    return height > 0.8 and abs(pitch) < 1.0


WALKER2D = Walker(
    name="Walker2DBullet",
    file="walker2d.xml",
    power=0.40,
    joints={
        "thigh_joint": 100.0,
        "leg_joint": 100.0,
        "foot_joint": 30.0,
        "thigh_left_joint": 100.0,
        "leg_left_joint": 100.0,
        "foot_left_joint": 30.0,
    },
    feet=("foot", "foot_left"),
    alive=_alive,
)


def walker2d(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Walker2D walks along +x."""
    return locomotion(WALKER2D, num_envs, workers, render_mode)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """One, without the clock; for gymnasium's registry."""
    return Locomotion(WALKER2D, render_mode)
