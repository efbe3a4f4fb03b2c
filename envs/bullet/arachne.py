"""Arachne, an eight-legged walker of our own: walk along +x, smoothly and upright, on any of several grounds.

The model is written by ``scripts/make_arachne.py``. A group of transitions is a variant of the world, so that advantages
can be normalised variant by variant.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, MinLen

from envs.base import EnvError, Envs, VectorEnv
from envs.bullet.body import Body, Vector3
from envs.bullet.task import BulletEnv, RenderMode, clocked, limited
from envs.bullet.terrain import field, rough_ground

MODEL = Path(__file__).parent / "assets" / "arachne.urdf"
_GRAVITY = 9.8  # m/s^2
_TILT = 0.5  # the cosine of the tilt at which it has fallen over


class Variant(NamedTuple):
    """What is different from level ground and an unladen robot."""

    slope: float = 0.0  # degrees uphill
    roughness: float = 0.0  # m, height of the bumps
    payload: float = 0.0  # kg on the torso, which weighs 3


VARIANTS = {
    "flat": Variant(),
    "slope": Variant(slope=6.0),
    "rough": Variant(roughness=0.04),
    "payload": Variant(payload=3.0),
}


class Weights(NamedTuple):
    """What the terms of the reward are worth."""

    forward: float  # per m/s along +x
    upright: float  # per cosine of the tilt
    energy: float  # per mean W a joint, paid
    smoothness: float  # per mean squared change of the action, paid


class Arachne(BulletEnv):
    """Eight legs, each swinging at the body and lifting at the knee; a step is 1/60 s in four substeps.

    Action [16]: where each joint's servo steers, +-1 over the joint's range, leg by leg (swing, lift), left before right.
    Observation [67], clipped to +-5: up in the torso's frame (3); cosine and sine of the heading; velocity (m/s) and
    0.25 x angular velocity (rad/s) in the torso's frame (3 + 3); joint by joint its position scaled to +-1 and 0.1 x its
    speed (rad/s); the previous action (16); the feet's contacts with the ground (8).
    With ``privileged`` what no sensor of it tells, [86]: under each foot 10 x the height of the ground (m) and the force on
    the foot over the weight of the unladen robot (8 + 8); payload over 3 kg; the sine of the slope; 10 x the roughness (m).
    ``metadata["columns"]`` names them all.
    Ends when the torso touches the ground or tilts past 60 degrees.
    """

    distance = 1.5

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        variant: str = "flat",
        forward: float = 2.0,
        upright: float = 0.2,
        energy: float = 0.02,
        smoothness: float = 0.1,
        group: int = 0,
        privileged: bool = False,
    ):
        if variant not in VARIANTS:
            raise EnvError(f"arachne: unknown variant {variant!r}, known are {', '.join(VARIANTS)}")
        self.variant, self.about = VARIANTS[variant], {"group": group}
        self.weights, self._privileged = Weights(forward, upright, energy, smoothness), privileged
        super().__init__(render_mode, gravity=_GRAVITY, time_step=1 / 60, substeps=4)

    def build(self) -> tuple[int, int]:
        call, variant = self.world.call, self.variant
        # A slope is level ground under gravity that leans.
        lean = math.radians(variant.slope)
        call("setGravity")(-_GRAVITY * math.sin(lean), 0, -_GRAVITY * math.cos(lean))
        self._ground = rough_ground(self.world, variant.roughness) if variant.roughness else self.world.load_floor()
        (robot,) = self.world.load(MODEL, at=(0.0, 0.0, 0.19))
        self.body = Body(self.world, robot)
        call("changeDynamics")(robot, -1, mass=call("getDynamicsInfo")(robot, -1)[0] + variant.payload)
        self._range = [0.5 * (high - low) for low, high in zip(self.body.lower, self.body.upper)]  # about 0
        torque = [call("getJointInfo")(robot, self.body.link(link))[10] for link in self.body.links if link != "torso"]
        self._servos = partial(self.body.servos, forces=torque)
        self._feet = [number for name, number in self.body.links.items() if name.startswith("foot_")]
        self._base = partial(call("getBasePositionAndOrientation"), robot)
        self._velocity = partial(call("getBaseVelocity"), robot)
        self._matrix = self.world.bullet.getMatrixFromQuaternion
        joints, feet = len(self.body.joints), len(self._feet)
        sizes = {"up": 3, "heading": 2, "velocity": 3, "turning": 3, "joints": 2 * joints, "previous": joints}
        sizes |= {"contacts": feet}
        if self._privileged:
            sizes |= {"ground/height": feet, "ground/force": feet, "payload": 1, "slope": 1, "roughness": 1}
            self._weight = _GRAVITY * sum(call("getDynamicsInfo")(robot, i)[0] for i in self.body.links.values())
            self._weight -= _GRAVITY * variant.payload
            self._read_feet = partial(call("getLinkStates"), robot, self._feet)
            self._hidden = [variant.payload / 3.0, math.sin(lean), 10.0 * variant.roughness]
        ends = np.cumsum([*sizes.values()]).tolist()
        self.metadata = self.metadata | {
            "columns": {n: [end - size, end] for (n, size), end in zip(sizes.items(), ends)}
        }
        return joints, ends[-1]

    def begin(self) -> np.ndarray:
        """Standing, every joint within 0.1 rad of its zero."""
        joints = len(self._range)
        self.body.place(self.np_random.uniform(-0.1, 0.1, joints).tolist())
        self._previous = np.zeros(joints, np.float32)
        obs, self._x, _, _ = self._observe(set())
        return obs

    def advance(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        action = limited(action, 1.0)
        self._servos(targetPositions=[a * r for a, r in zip(action.tolist(), self._range)])
        self.world.step()

        change = float(np.square(action - self._previous).mean())
        before, self._previous = self._x, action
        touching = self.body.touching(self._ground)
        obs, self._x, up, power = self._observe(touching)
        weights = self.weights
        reward = (
            weights.forward * (self._x - before) / self.world.time_step
            + weights.upright * up
            - weights.energy * power
            - weights.smoothness * change
        )
        return obs, reward, up < _TILT or -1 in touching

    def _observe(self, touching: set[int]) -> tuple[np.ndarray, float, float, float]:
        """The observation, x (m), the cosine of the tilt, the mean power of the joints' motors (W)."""
        position, orientation = self._base()
        velocity, turning = self._velocity()
        r = self._matrix(orientation)  # rows are the world's axes in the torso's frame
        heading = math.atan2(r[3], r[0])
        values = [*r[6:9], math.cos(heading), math.sin(heading)]
        values += (r[i] * velocity[0] + r[i + 3] * velocity[1] + r[i + 6] * velocity[2] for i in range(3))
        values += (0.25 * (r[i] * turning[0] + r[i + 3] * turning[1] + r[i + 6] * turning[2]) for i in range(3))
        power = 0.0
        for (angle, speed, _, torque), reach in zip(self.body.joint_states(), self._range):
            values += (angle / reach, 0.1 * speed)
            power += abs(torque * speed)
        values += self._previous.tolist()
        values += (float(foot in touching) for foot in self._feet)
        if self._privileged:
            values += self._unseen()
        return limited(np.array(values, np.float32), 5.0), position[0], r[8], power / len(self._range)

    def _unseen(self) -> list[float]:
        """The privileged part of an observation."""
        forces = self.body.pressing(self._ground)
        x, y = np.array([foot[0][:2] for foot in self._read_feet()]).T
        heights = field(self.variant.roughness).at(x, y) if self.variant.roughness else np.zeros(len(x))
        pressed = [forces.get(foot, 0.0) / self._weight for foot in self._feet]
        return [*(10.0 * heights).tolist(), *pressed, *self._hidden]

    def centre(self) -> Vector3:
        return self._base()[0]


def arachne(
    num_envs: Envs,
    workers: int,
    *,
    variants: Annotated[list[Literal["flat", "slope", "rough", "payload"]], MinLen(1)],
    forward: Annotated[float, Ge(0)],
    upright: Annotated[float, Ge(0)],
    energy: Annotated[float, Ge(0)],
    smoothness: Annotated[float, Ge(0)],
    privileged: bool,
    render_mode: RenderMode | None,
) -> VectorEnv:
    """Arachne walks along +x; 1000 steps an episode. Sub-environment i has variant i modulo their number, and so its
    group. privileged: the observation also holds what only a simulator knows, as columns after the others (see ``Arachne``).
    The other options are the weights of the reward's terms (see ``Weights``)."""
    weights = Weights(forward, upright, energy, smoothness)
    make = partial(Arachne, render_mode, privileged=privileged, **weights._asdict())
    return clocked(partial(_make, make, list(variants)), 1000, num_envs, workers, "ArachneBullet")


def _make(make: partial[Arachne], variants: Sequence[str], index: int) -> Arachne:
    group = index % len(variants)
    return make(variant=variants[group], group=group)
