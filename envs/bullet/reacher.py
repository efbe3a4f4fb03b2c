"""Bring the tip of a two-link arm to a target in the plane. Equal to ``pybullet-envs-gymnasium``'s task."""

from functools import partial

import numpy as np

from envs.base import Envs, VectorEnv
from envs.bullet.body import Body, Vector3
from envs.bullet.task import BulletEnv, RenderMode, clocked, limited
from envs.bullet.world import bundled

_TORQUE = 0.05  # N m at action 1
_REACH = 0.27  # m; targets lie within a square of twice this side


class Reacher(BulletEnv):
    """No gravity; a step is 16.5 ms.

    Observation [9]: target x, y; tip minus target x, y (m); cosine and sine of the shoulder's scaled position, 0.1 x its
    speed; the elbow's scaled position, 0.1 x its speed (rad/s). Scaled is to +-1 between the joint's limits.
    Reward: 100 x the approach (m) - 0.1 sum |action speed| - 0.01 sum |action|, and -0.1 with the elbow at its limit.
    """

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode, gravity=0.0, time_step=0.0165, substeps=1)

    def build(self) -> tuple[int, int]:
        *_, arm, target = self.world.load(bundled("mjcf/reacher.xml"))
        self.arm, self.target = Body(self.world, arm), Body(self.world, target)
        self._tip, self._goal = self.arm.position("fingertip"), self.target.position("target")
        self._limits = list(zip(self.arm.lower, self.arm.upper))
        return 2, 9

    def begin(self) -> np.ndarray:
        self.target.place(self.np_random.uniform(-_REACH, _REACH, 2).tolist())
        self.arm.place(self.np_random.uniform(-3.14, 3.14, 2).tolist())
        obs, self._potential, *_ = self._observe()
        return obs

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        self.arm.torques(forces=[_TORQUE * value for value in limited(action, 1.0).tolist()])
        self.world.step()
        before = self._potential
        obs, self._potential, (_, shoulder), (elbow, bending) = self._observe()
        # In the precision of the reference, which is that of the action.
        effort = -0.1 * (np.abs(action[0] * shoulder) + np.abs(action[1] * bending)) - 0.01 * np.abs(action).sum()
        stuck = -0.1 if abs(abs(elbow) - 1) < 0.01 else 0.0
        return obs, (self._potential - before) + float(effort) + stuck, False

    def _observe(self) -> tuple[np.ndarray, float, tuple[float, float], tuple[float, float]]:
        """The observation, the potential, scaled position and speed of shoulder and elbow."""
        shoulder, elbow = (
            (2 * (joint[0] - low) / (high - low) - 1.0, 0.1 * joint[1])
            for joint, (low, high) in zip(self.arm.joint_states(), self._limits)
        )
        goal = [joint[0] for joint in self.target.joint_states()]
        away = np.subtract(self._tip(), self._goal())
        values = [*goal, away[0], away[1], np.cos(shoulder[0]), np.sin(shoulder[0]), shoulder[1], *elbow]
        return np.array(values, np.float32), float(-100 * np.sqrt(away.dot(away))), shoulder, elbow

    def centre(self) -> Vector3:
        return 0.0, 0.0, 0.0


def reacher(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Reach for a target; 150 steps an episode."""
    return clocked(partial(_make, render_mode), 150, num_envs, workers, "ReacherBullet")


def _make(render_mode: str | None, index: int) -> Reacher:
    return Reacher(render_mode)
