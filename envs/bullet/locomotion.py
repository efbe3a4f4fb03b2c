"""Walk along +x: the task of the bundled walkers, with the observations and rewards of the Roboschool lineage.

Matches ``pybullet-envs-gymnasium`` from its second episode on. (In its first, the floor is not yet among the parts
whose mean position measures progress, so that the first reward jumps.) Its oddities are kept, being part of the task:
the foot contacts in an observation are those before the step, and progress is that of the mean over all parts.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from envs.base import EnvError, Envs, VectorEnv
from envs.bullet.body import Body, Vector3
from envs.bullet.task import BulletEnv, clocked, limited
from envs.bullet.world import bundled

_TARGET = 1e3  # m: the walk leads to (1000, 0)
_FLOOR = (0.0, 0.0, 0.0)  # m: the floor is the last part
_LIMIT = float(np.float32(0.99)) + 2.0**-25  # what rounds to more than 0.99 in float32 is at its limit


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
        self._speeds = slice(9, 9 + 2 * self._actions, 2)  # where an observation has the joints' speeds
        self._costs = np.empty((2, self._actions), np.float32)
        size = 8 + 2 * self._actions + len(self._feet)
        self._bounds = np.full(size, -5.0, np.float32), np.full(size, 5.0, np.float32)
        return self._actions, size

    def begin(self) -> np.ndarray:
        """Every joint within 0.1 rad of its zero, at rest."""
        self.body.place(self.np_random.uniform(-0.1, 0.1, self._actions).tolist())
        self._contacts = [0.0] * len(self._feet)
        self._start = math.nan if self.walker.standing is None else self.walker.standing
        obs, self._potential, *_ = self._observe()
        return self._bounded(obs)

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        walker = self.walker
        self.body.torques(forces=(self._gain * limited(action, 1.0)).tolist())
        self.world.step()

        before = self._potential
        obs, self._potential, pitch, at_limit = self._observe()
        alive = walker.alive(float(obs[0]) + self._start, pitch, self._contacts)
        touching = self.body.touching(self._floor)
        self._contacts = [float(foot in touching) for foot in self._feet]

        costs = self._costs
        np.multiply(action, obs[self._speeds], out=costs[0])
        np.multiply(action, action, out=costs[1])
        work, torque = (np.add.reduce(np.abs(costs, out=costs), 1) / costs.dtype.type(self._actions)).tolist()
        reward = (
            (walker.alive_reward if alive else -1.0)
            + (self._potential - before)
            + (-2.0 * walker.effort * work - 0.1 * walker.effort * torque)
            - 0.1 * at_limit
        )
        return self._bounded(obs), reward, walker.mortal and not alive

    def _observe(self) -> tuple[np.ndarray, float, float, int]:
        """The observation before clipping, the potential (minus the distance to the target, in time steps), the pitch
        (rad), how many joints are at a limit."""
        torso, orientation, velocity, parts = self._pose()
        parts.append(_FLOOR)
        x, y, _ = zip(*parts)
        away = np.array((-_sum(y) / len(y), _TARGET - _sum(x) / len(x)))
        if math.isnan(self._start):  # the first look of an episode
            self._start = torso[2]
        roll, pitch, yaw = self.world.euler(orientation)
        angle = math.atan2(*away.tolist()) - yaw
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
        at_limit = 0
        for joint, (low, width) in zip(self.body.joint_states(), self._limits):
            position = 2 * (joint[0] - low) / width - 1.0
            at_limit += not -_LIMIT < position < _LIMIT
            values += (position, 0.1 * joint[1])
        values += self._contacts
        return np.array(values, np.float32), -math.sqrt(away.dot(away)) / self.world.time_step, pitch, at_limit

    def _bounded(self, obs: np.ndarray) -> np.ndarray:
        low, high = self._bounds
        return np.minimum(np.maximum(obs, low, out=obs), high, out=obs)

    def centre(self) -> Vector3:
        return self._pose().position


def locomotion(walker: Walker, num_envs: Envs, workers: int, render_mode: str | None) -> VectorEnv:
    """``num_envs`` of this walker; 1000 steps an episode."""
    return clocked(partial(_make, walker, render_mode), 1000, num_envs, workers, walker.name)


def _make(walker: Walker, render_mode: str | None, index: int) -> Locomotion:
    return Locomotion(walker, render_mode)


def _sum(values: tuple[float, ...]) -> float:
    """The sum in numpy's order, eight partial sums, so that progress equals the reference's to the bit; quicker, too."""
    whole = len(values) & -8
    if not whole:
        return sum(values)
    sums: Sequence[float] = values[:8]
    for block in range(8, whole, 8):
        sums = [a + b for a, b in zip(sums, values[block : block + 8])]
    a, b, c, d, e, f, g, h = sums
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for value in values[whole:]:
        total += value
    return total
