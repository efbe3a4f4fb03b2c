"""An articulated body, read and driven by calls that take all its joints or links at once."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from envs.base import EnvError
from envs.bullet.world import World

_PASSIVE = ("jointfix", "ignore")  # name prefixes of joints that are welds, or carry the root and have no motor

Vector3 = tuple[float, float, float]


class Pose(NamedTuple):
    """Where the torso and all parts are; positions are centres of mass in m."""

    position: Vector3
    orientation: tuple[float, float, float, float]  # quaternion x y z w
    velocity: Vector3  # m/s
    parts: list[Vector3]  # every link, the torso second


class Body:
    """The driven joints, in the order of the model file, the links by name, and one of them as the torso."""

    def __init__(self, world: World, body: int, torso: str):
        self.id = body
        bullet, call = world.bullet, world.call
        info = [call("getJointInfo")(body, j) for j in range(call("getNumJoints")(body))]
        for joint in info:
            # Every joint is born with a motor that brakes; without force it is out of the way of torques.
            call("setJointMotorControl2")(body, joint[0], bullet.POSITION_CONTROL, force=0)
        driven = [joint for joint in info if not joint[1].decode().startswith(_PASSIVE)]
        self.joints = [joint[1].decode() for joint in driven]
        self.lower, self.upper = [joint[8] for joint in driven], [joint[9] for joint in driven]  # rad or m
        self.links = {call("getBodyInfo")(body)[0].decode(): -1} | {joint[12].decode(): joint[0] for joint in info}
        if torso not in self.links:
            raise EnvError(f"the model has no link {torso}, only {', '.join(self.links)}")

        indices = [joint[0] for joint in driven]
        self.joint_states = partial(call("getJointStates"), body, indices)
        self.drive = partial(call("setJointMotorControlArray"), body, indices, bullet.TORQUE_CONTROL)
        self._place = partial(call("resetJointStatesMultiDof"), body, indices)
        self._contacts = partial(call("getContactPoints"), body)

        self._torso_is_base = self.links[torso] < 0
        links = [link for link in range(len(info)) if link != self.links[torso]]
        if not self._torso_is_base:
            links.insert(1, self.links[torso])
        self._links = partial(call("getLinkStates"), body, links)
        self._torso = partial(call("getLinkState"), body, self.links[torso], computeLinkVelocity=True)
        self._base = partial(call("getBasePositionAndOrientation"), body)
        self._base_velocity = partial(call("getBaseVelocity"), body)

    def pose(self) -> Pose:
        """The torso and the parts as they are now."""
        parts = [link[0] for link in self._links()]
        if self._torso_is_base:
            position, orientation = self._base()
            parts.insert(1, position)
            return Pose(position, orientation, self._base_velocity()[0], parts)
        torso = self._torso()
        return Pose(torso[0], torso[1], torso[6], parts)

    def touching(self, other: int) -> set[int]:
        """The links in contact with body ``other``."""
        return {contact[3] for contact in self._contacts(other)}

    def place(self, positions: Sequence[float]) -> None:
        """Put all joints at ``positions`` (rad or m), at rest."""
        self._place([[q] for q in positions], [[0.0]] * len(positions))
