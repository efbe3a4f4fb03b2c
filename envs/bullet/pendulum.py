"""A pole, or two, on a cart: keep it upright, or swing it up first. Equal to ``pybullet-envs-gymnasium``'s tasks."""

from collections.abc import Callable
from functools import partial

import numpy as np

from envs.base import Envs, VectorEnv
from envs.bullet.body import Body, Vector3
from envs.bullet.task import BulletEnv, RenderMode, clocked, limited
from envs.bullet.world import bundled


class _Cart(BulletEnv):
    """A cart on a rail with poles on hinges; no floor, a step is 16.5 ms."""

    file: str  # model in pybullet_data/mjcf
    force: float  # N on the cart at action 1
    size: int  # of the observation

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode, gravity=9.8, time_step=0.0165, substeps=1)

    def build(self) -> tuple[int, int]:
        *_, cart = self.world.load(bundled(f"mjcf/{self.file}"))
        self.body = Body(self.world, cart)
        self._free = [0.0] * (len(self.body.joints) - 1)  # no torque on the hinges
        return 1, self.size

    def push(self, action: np.ndarray) -> list[tuple[float, float]]:
        """One time step; position and speed of every joint (m, rad), the cart's first."""
        self.body.torques(forces=[self.force * float(limited(action, 1.0)[0]), *self._free])
        self.world.step()
        return self.joints()

    def joints(self) -> list[tuple[float, float]]:
        return [joint[:2] for joint in self.body.joint_states()]

    def centre(self) -> Vector3:
        return 0.0, 0.0, 0.5


class InvertedPendulum(_Cart):
    """Observation [5]: cart position, speed; cosine, sine, speed of the pole's angle. Reward 1 a step; ends past 0.2 rad."""

    file, force, size = "inverted_pendulum.xml", 100.0, 5
    hangs = 0.0  # rad; the pole's angle at the start, but for 0.1 either way

    def begin(self) -> np.ndarray:
        self.body.place([0.0, self.hangs + self.np_random.uniform(-0.1, 0.1)])
        return self.observe(self.joints())

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        joints = self.push(action)
        return self.observe(joints), 1.0, abs(joints[1][0]) > 0.2

    @staticmethod
    def observe(joints: list[tuple[float, float]]) -> np.ndarray:
        (x, speed), (angle, turning) = joints
        return np.array([x, speed, np.cos(angle), np.sin(angle), turning], np.float32)


class InvertedPendulumSwingup(InvertedPendulum):
    """The pole begins hanging. Reward: the cosine of its angle from upright; never ends."""

    hangs = 3.1415

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        joints = self.push(action)
        return self.observe(joints), float(np.cos(joints[1][0])), False


class InvertedDoublePendulum(_Cart):
    """Two poles. Observation [9]: cart position, speed; x of the upper pole's centre; cosine, sine, speed of both angles.

    Reward: 10 - 0.01 x^2 - (height of the tip - 2)^2, the tip taken 0.3 m above the upper pole's centre; ends when the
    tip is at 1 m or below.
    """

    file, force, size = "inverted_double_pendulum.xml", 200.0, 9

    def build(self) -> tuple[int, int]:
        sizes = super().build()
        self._tip: Callable[[], Vector3] = self.body.position("pole2")
        return sizes

    def begin(self) -> np.ndarray:
        self.body.place([0.0, *self.np_random.uniform(-0.1, 0.1, 2).tolist()])
        return self.observe(self.joints(), self._tip()[0])

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        joints = self.push(action)
        x, _, height = self._tip()
        reward = 10.0 - (0.01 * x**2 + (height + 0.3 - 2) ** 2)
        return self.observe(joints, x), reward, height + 0.3 <= 1

    @staticmethod
    def observe(joints: list[tuple[float, float]], tip: float) -> np.ndarray:
        values = [*joints[0], tip]
        for angle, turning in joints[1:]:
            values += (np.cos(angle), np.sin(angle), turning)
        return np.array(values, np.float32)


def inverted_pendulum(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Keep one pole upright; 1000 steps an episode."""
    return clocked(partial(_make, InvertedPendulum, render_mode), 1000, num_envs, workers, "InvertedPendulumBullet")


def inverted_pendulum_swingup(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Swing one pole up and keep it there; 1000 steps an episode."""
    name = "InvertedPendulumSwingupBullet"
    return clocked(partial(_make, InvertedPendulumSwingup, render_mode), 1000, num_envs, workers, name)


def inverted_double_pendulum(num_envs: Envs, workers: int, *, render_mode: RenderMode | None) -> VectorEnv:
    """Keep two poles upright; 1000 steps an episode."""
    name = "InvertedDoublePendulumBullet"
    return clocked(partial(_make, InvertedDoublePendulum, render_mode), 1000, num_envs, workers, name)


def _make(task: type[_Cart], render_mode: str | None, index: int) -> _Cart:
    return task(render_mode)
