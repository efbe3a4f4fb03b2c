"""An articulated body, read and driven by calls that take all its joints or links at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from envs.base import EnvError
from envs.bullet.world import World

_PASSIVE = ("jointfix", "ignore")  # name prefixes of joints that are welds, or carry the root and have no motor

Vector3 = tuple[float, float, float]


class Pose(NamedTuple):
    """Where a torso and all parts are; positions are centres of mass in m."""

    position: Vector3
    orientation: tuple[float, float, float, float]  # quaternion x y z w
    velocity: Vector3  # m/s
    parts: list[Vector3]  # every link, the torso second


class Body:
    """The driven joints, in the order of the model file, and the links by name."""

    def __init__(self, world: World, body: int):
        self.id, self._call, self._substeps = body, world.call, world.substeps
        bullet, call = world.bullet, world.call
        self._info = [call("getJointInfo")(body, j) for j in range(call("getNumJoints")(body))]
        for joint in self._info:
            # Every joint is born with a motor that brakes; without force it is out of the way of torques.
            call("setJointMotorControl2")(body, joint[0], bullet.POSITION_CONTROL, force=0)
        driven = [joint for joint in self._info if not joint[1].decode().startswith(_PASSIVE)]
        self.joints = [joint[1].decode() for joint in driven]
        self.lower, self.upper = [joint[8] for joint in driven], [joint[9] for joint in driven]  # rad or m
        base = call("getBodyInfo")(body)[0].decode()
        self.links = {base: -1} | {joint[12].decode(): joint[0] for joint in self._info}

        indices = [joint[0] for joint in driven]
        self.joint_states = partial(call("getJointStates"), body, indices)  # (position, speed, -, motor torque) a joint
        self.torques = partial(call("setJointMotorControlArray"), body, indices, bullet.TORQUE_CONTROL)  # forces=
        self.servos = partial(call("setJointMotorControlArray"), body, indices, bullet.POSITION_CONTROL)
        self._place = partial(call("resetJointStatesMultiDof"), body, indices)
        self._contacts = partial(call("getContactPoints"), body)

    def place(self, positions: Sequence[float]) -> None:
        """Put all joints at ``positions`` (rad or m), at rest."""
        self._place([[q] for q in positions], [[0.0]] * len(positions))

    def touching(self, other: int) -> set[int]:
        """The links in contact with body ``other``."""
        return {contact[3] for contact in self._contacts(other)}

    def pressing(self, other: int) -> dict[int, float]:
        """The normal force (N) on each link in contact with body ``other``.

        Bullet divides the impulse of the last substep by the time of the whole step.
        """
        forces: dict[int, float] = {}
        for contact in self._contacts(other):
            forces[contact[3]] = forces.get(contact[3], 0.0) + contact[9] * self._substeps
        return forces

    def link(self, name: str) -> int:
        """The number of link ``name``; -1 is the base."""
        if name not in self.links:
            raise EnvError(f"the model has no link {name}, only {', '.join(self.links)}")
        return self.links[name]

    def position(self, name: str) -> Callable[[], Vector3]:
        """A function that reads where link ``name`` is."""
        read = partial(self._call("getLinkState"), self.id, self.link(name))
        return lambda: read()[0]

    def pose(self, torso: str) -> Callable[[], Pose]:
        """A function that reads the pose of link ``torso`` and where the parts are."""
        index = self.link(torso)
        others = [link for link in range(len(self._info)) if link != index]
        if index < 0:
            read_links = partial(self._call("getLinkStates"), self.id, others)
            read_base = partial(self._call("getBasePositionAndOrientation"), self.id)
            read_velocity = partial(self._call("getBaseVelocity"), self.id)

            def of_base() -> Pose:
                parts = [link[0] for link in read_links()]
                position, orientation = read_base()
                parts.insert(1, position)
                return Pose(position, orientation, read_velocity()[0], parts)

            return of_base

        order = [others[0], index, *others[1:]]
        read = partial(self._call("getLinkStates"), self.id, order, computeLinkVelocity=True)

        def of_link() -> Pose:
            links = read()
            torso = links[1]
            return Pose(torso[0], torso[1], torso[6], [link[0] for link in links])

        return of_link
