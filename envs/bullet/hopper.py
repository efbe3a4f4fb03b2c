"""One leg in a plane: falls when its torso is low or bent."""

import gymnasium

from envs.base import Envs, VectorEnv
from envs.bullet.locomotion import Locomotion, Walker, locomotion
from envs.bullet.task import RenderMode


def _alive(height: float, pitch: float, contacts: list[float]) -> bool:
    return height > 0.8 and abs(pitch) < 1.0


HOPPER = Walker(
    name="HopperBullet",
    file="hopper.xml",
    power=0.75,
    joints={"thigh_joint": 100.0, "leg_joint": 100.0, "foot_joint": 100.0},
    feet=("foot",),
    alive=_alive,
)


def hopper(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Hopper walks along +x."""
    return locomotion(HOPPER, num_envs, workers, render_mode)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """One, without the clock; for gymnasium's registry."""
    return Locomotion(HOPPER, render_mode)
