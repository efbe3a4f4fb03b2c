"""Two legs, two arms: falls when its torso is low."""

import gymnasium
import numpy as np

from envs.base import Envs, VectorEnv
from envs.bullet.locomotion import Locomotion, Walker, locomotion
from envs.bullet.task import RenderMode


def _alive(height: float, pitch: float, contacts: list[float]) -> bool:
    return height > 0.78


_LEG = {"hip_x": 100.0, "hip_z": 100.0, "hip_y": 300.0, "knee": 200.0}
_ARM = {"shoulder1": 75.0, "shoulder2": 75.0, "elbow": 75.0}

HUMANOID = Walker(
    name="HumanoidBullet",
    file="humanoid_symmetric.xml",
    power=0.41,
    joints={f"abdomen_{axis}": 100.0 for axis in "zyx"}
    | {
        f"{side}_{joint}": torque
        for limb in (_LEG, _ARM)
        for side in ("right", "left")
        for joint, torque in limb.items()
    },
    feet=("right_foot", "left_foot"),
    alive=_alive,
    alive_reward=2.0,  # seventeen noisy joints cost so much that living must pay more
    effort=4.25,
    standing=0.8,
    torque_dtype=np.float32,
)


def humanoid(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Humanoid walks along +x."""
    return locomotion(HUMANOID, num_envs, workers, render_mode)


def make(render_mode: str | None = None) -> gymnasium.Env:
    """One, without the clock; for gymnasium's registry."""
    return Locomotion(HUMANOID, render_mode)
