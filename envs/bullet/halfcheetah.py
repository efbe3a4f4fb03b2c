"""Half a quadruped in a plane: loses reward on its knees or its back, but its episode goes on."""

import gymnasium

from envs.base import Envs, VectorEnv
from envs.bullet.locomotion import Locomotion, Walker, locomotion
from envs.bullet.task import RenderMode


def _alive(height: float, pitch: float, contacts: list[float]) -> bool:
    _, front_shin, front_thigh, _, back_shin, back_thigh = contacts
    return abs(pitch) < 1.0 and not (front_shin or front_thigh or back_shin or back_thigh)


HALFCHEETAH = Walker(
    name="HalfCheetahBullet",
    file="half_cheetah.xml",
    power=0.90,
    joints={"bthigh": 120.0, "bshin": 90.0, "bfoot": 60.0, "fthigh": 140.0, "fshin": 60.0, "ffoot": 30.0},
    feet=("ffoot", "fshin", "fthigh", "bfoot", "bshin", "bthigh"),
    alive=_alive,
    mortal=False,
)


def halfcheetah(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """HalfCheetah walks along +x."""
    return locomotion(HALFCHEETAH, num_envs, workers, render_mode)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """One, without the clock; for gymnasium's registry."""
    return Locomotion(HALFCHEETAH, render_mode)
