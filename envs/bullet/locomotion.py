"""Walk along +x: the task of the bundled walkers, with the observations and rewards of the Roboschool lineage.

Matches ``pybullet-envs-gymnasium`` from its second episode on. (In its first, the floor is not yet among the parts
whose mean position measures progress, so that the first reward jumps.) Its oddities are kept, being part of the task:
the foot contacts in an observation are those before the step, and progress is that of the mean over all parts.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from envs.base import EnvError, VectorEnv
from envs.bullet.body import Body, Vector3
from envs.bullet.task import BulletEnv, clocked, limited
from envs.bullet.world import bundled

_TARGET = 1e3  # m: the walk leads to (1000, 0)


class Walker(NamedTuple):
    """What distinguishes one walker from another."""

    name: str
    file: str  # model in pybullet_data/mjcf
    power: float
    joints: dict[str, float]  # torque in N m at action 1 and power 1, in the order of the model
    feet: tuple[str, ...]  # links whose contact with the floor is observed
    alive: Callable[[float, float, list[float]], bool]  # of torso height (m), pitch (rad), contacts of the feet
    alive_reward: float = 1.0  # a step; -1 when not alive
    mortal: bool = True  # whether not being alive ends the episode
    effort: float = 1.0  # scale of both motor costs
    standing: float | None = None  # m; the observed height counts from here (None: from the height after reset)
    torque_dtype: type = np.float64  # the reference rounds the torques of one robot to float32


class Locomotion(BulletEnv):
    """One walker on the floor; a step is 16.5 ms in four substeps.

    Observation [8 + 2 J + F], clipped to +-5: height (m), sine and cosine of the angle to the target, 0.3 x velocity
    in the torso's heading (x y z, m/s), roll, pitch (rad); joint by joint its position scaled to +-1 between its limits
    and 0.1 x its speed (rad/s); the feet's contacts (0 or 1).
    Reward: alive + progress (m per 16.5 ms) - 2 mean |action joint_speed| - 0.1 mean action^2 - 0.1 a joint at its
    limit, joint_speed as observed.
    """

    def __init__(self, walker: Walker, render_mode: str | None = None):
        self.walker = walker
        super().__init__(render_mode, gravity=9.8, time_step=0.0165, substeps=4)

    def build(self) -> tuple[int, int]:
        walker = self.walker
        self._floor = self.world.load_floor()
        self.body = Body(self.world, self.world.load(bundled(f"mjcf/{walker.file}"))[0])
        if self.body.joints != list(walker.joints):
            raise EnvError(f"{walker.file} has the joints {self.body.joints}, the table {list(walker.joints)}")
        self._pose = self.body.pose("torso")
        self._gain = np.array([walker.power * torque for torque in walker.joints.values()], walker.torque_dtype)
        self._limits = list(zip(self.body.lower, np.subtract(self.body.upper, self.body.lower).tolist()))
        self._feet = [self.body.link(foot) for foot in walker.feet]
        self._actions = len(walker.joints)
        self._joints = slice(8, 8 + 2 * self._actions)  # where an observation has them
        return self._actions, self._joints.stop + len(self._feet)

    def begin(self) -> np.ndarray:
        """Every joint within 0.1 rad of its zero, at rest."""
        self.body.place(self.np_random.uniform(-0.1, 0.1, self._actions).tolist())
        self._contacts = [0.0] * len(self._feet)
        self._start = math.nan if self.walker.standing is None else self.walker.standing
        obs, _, self._potential = self._observe()
        return limited(obs, 5.0)

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        walker = self.walker
        self.body.torques(forces=(self._gain * limited(action, 1.0)).tolist())
        self.world.step()

        before = self._potential
        obs, pitch, self._potential = self._observe()
        alive = walker.alive(float(obs[0]) + self._start, pitch, self._contacts)
        touching = self.body.touching(self._floor)
        self._contacts = [float(foot in touching) for foot in self._feet]

        joints = obs[self._joints]
        work = float(np.add.reduce(np.abs(action * joints[1::2])) / self._actions)
        torque = float(np.add.reduce(np.square(action)) / self._actions)
        at_limit = int(np.count_nonzero(np.abs(joints[0::2]) > 0.99))
        reward = (
            (walker.alive_reward if alive else -1.0)
            + (self._potential - before)
            + (-2.0 * walker.effort * work - 0.1 * walker.effort * torque)
            - 0.1 * at_limit
        )
        return limited(obs, 5.0), reward, walker.mortal and not alive

    def _observe(self) -> tuple[np.ndarray, float, float]:
        """The observation before clipping, the pitch (rad), the potential: minus the distance to the target in time steps."""
        torso, orientation, velocity, parts = self._pose()
        place = np.array([*parts, (0.0, 0.0, 0.0)])  # the floor is the last part
        away = np.array([-np.add.reduce(place[:, 1]) / len(place), _TARGET - np.add.reduce(place[:, 0]) / len(place)])
        if math.isnan(self._start):  # the first look of an episode
            self._start = torso[2]
        roll, pitch, yaw = self.world.euler(orientation)
        angle = math.atan2(*away) - yaw
        c, s = math.cos(yaw), math.sin(yaw)
        values = [
            torso[2] - self._start,
            math.sin(angle),
            math.cos(angle),
            0.3 * (c * velocity[0] + s * velocity[1]),
            0.3 * (c * velocity[1] - s * velocity[0]),
            0.3 * velocity[2],
            roll,
            pitch,
        ]
        for (position, speed, _, _), (low, width) in zip(self.body.joint_states(), self._limits):
            values += (2 * (position - low) / width - 1.0, 0.1 * speed)
        values += self._contacts
        return np.array(values, np.float32), pitch, -math.sqrt(away.dot(away)) / self.world.time_step

    def centre(self) -> Vector3:
        return self._pose().position


def locomotion(walker: Walker, num_envs: int, workers: int, render_mode: str | None) -> VectorEnv:
    """``num_envs`` of this walker; 1000 steps an episode."""
    return clocked(partial(_make, walker, render_mode), 1000, num_envs, workers, walker.name)


def _make(walker: Walker, render_mode: str | None, index: int) -> Locomotion:
    return Locomotion(walker, render_mode)
