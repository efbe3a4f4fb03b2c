"""Four legs: dies when its torso scrapes the ground."""

from typing import Annotated

import gymnasium
from annotated_types import Ge

from envs.base import Envs, VectorEnv
from envs.bullet.locomotion import Locomotion, Walker, locomotion
from envs.bullet.task import RenderMode


def _alive(height: float, pitch: float, contacts: list[float]) -> bool:
    return height > 0.26  # the torso is a sphere of radius 0.25


ANT = Walker(
    name="AntBullet",
    file="ant.xml",
    power=2.5,
    joints={f"{joint}_{leg}": 100.0 for leg in (1, 2, 3, 4) for joint in ("hip", "ankle")},
    feet=("front_left_foot", "front_right_foot", "left_back_foot", "right_back_foot"),
    alive=_alive,
)


def ant(num_envs: Envs, workers: int, *, effort: Annotated[float, Ge(0)], render_mode: RenderMode | None) -> VectorEnv:
    """Ant walks along +x. ``effort`` scales the motor costs in its reward: another task for the same body."""
    return locomotion(ANT._replace(effort=effort), num_envs, workers, render_mode)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """One, without the clock; for gymnasium's registry."""
    return Locomotion(ANT, render_mode)
