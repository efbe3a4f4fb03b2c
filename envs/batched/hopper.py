"""A robot of one leg in the vertical plane, which is to hop forward: three rods, two motors, and a floor to push against."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.batched.task import Task, bounded, unbounded
from envs.device import constant

G, DT, SUBSTEPS = 9.81, 0.02, 8  # m/s^2, s of a step, and in how many it is integrated
LENGTH, MASS = np.array((0.5, 0.4, 0.4)), np.array((6.0, 2.0, 1.5))  # m, kg of trunk, thigh and shank: thin rods
TORQUE, DRAG = 60.0, 1.0  # N m of a motor at most; N m s of a joint
LOW, HIGH, STOP, STOP_DAMP = (-1.0, -2.2), (1.5, -0.1), 300.0, 0.1  # rad of hip and knee; N m/rad and s/rad beyond
STIFF, DAMP = 1e4, 0.5  # N/m, s/m: of the floor, downwards
MU, STICK, GRIP = 1.0, 1e4, 60.0  # friction: at most MU times the load; N/m, N s/m below that
STANCE, SPREAD = (0.0, 0.5, -0.5), 0.1  # rad of the rods at the start; every angle and speed differs by up to that
LOWEST, STEEPEST = 0.4, 0.8  # m of the hip, rad of the trunk: beyond, it has fallen

# Every place is the centre of mass + sum_j a_j u(angle_j), u(angle) = (sin angle, -cos angle): 0 hangs down, the trunk stands on
# the hip. Rows of a, from the hip: the middles of the rods; then head, hip, knee and foot, where the floor is felt.
_MIDDLES = np.array(((-0.5, 0, 0), (0, 0.5, 0), (0, 1, 0.5))) * LENGTH
_CENTRE = MASS @ _MIDDLES / MASS.sum()
MIDDLES, ENDS = _MIDDLES - _CENTRE, np.array(((-1, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 1))) * LENGTH - _CENTRE
COUPLING, INERTIA = MIDDLES.T @ (MASS[:, None] * MIDDLES), np.diag(MASS * LENGTH**2 / 12)  # kg m^2
WEIGHT = float(MASS.sum()) * G  # N


class Robot(NamedTuple):
    """Any number of them, a row each. ``stretch``: by how far the floor holds the ends back [m]."""

    place: Tensor  # [N, 2] of the centre of mass, x forward and z up [m]
    angle: Tensor  # [N, 3] of trunk, thigh and shank against the vertical, positive: the lower end is in front [rad]
    speed: Tensor  # [N, 2] [m/s]
    spin: Tensor  # [N, 3] [rad/s]
    stretch: Tensor  # [N, 4] of head, hip, knee and foot

    @staticmethod
    def of(state: Tensor) -> "Robot":
        """The columns of a state."""
        return Robot(*state.split((2, 3, 2, 3, 4), -1))


class Shape(NamedTuple):
    """The constants of a robot where its state is; made once a step."""

    coupling: Tensor
    inertia: Tensor
    ends: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def like(x: Tensor) -> "Shape":
        """Of the dtype of ``x``, on its device."""
        return Shape(*map(partial(constant, x), (COUPLING, INERTIA, ENDS, LOW, HIGH)))


class Hopper(Task):
    """Reward a step: 1 + forward speed of the centre of mass [m/s] - 0.1 |action|^2. It ends where the robot falls: hip below
    0.4 m, or trunk 0.8 rad from upright. Observed: height, trunk, hip and knee (angles), and the speeds of x and of these
    four. A step is 0.02 s, eight steps of semi-implicit Euler.

    The centre of mass p and the rods' angles q are the coordinates, so that they meet only in the forces F_c at the ends c:

        m p'' = sum_c F_c - (0, m g)
        sum_k (K_jk cos(q_j - q_k) + I_jk) q_k'' = T_j + sum_c a_cj u'(q_j) . F_c - sum_k K_jk sin(q_j - q_k) q_k'^2

    K = A^T diag(mass) A of the rods' middles A, I their inertia about these. T: what motors, drag and stops of the joints do
    to the rods, equal and opposite on the two that meet there. The floor is a spring that pushes and never pulls, damped in
    proportion to its load (Hunt & Crossley 1975), N = STIFF depth max(0, 1 - DAMP z'), and a spring along it that slips where
    it would exceed Coulomb's MU N (Cundall & Strack 1979).
    """

    name, limit, fps, draws = "hopper", 500, 1 / DT, 8
    observation_space, action_space = unbounded(9), bounded(2)

    def begin(self, u: Tensor) -> Tensor:
        apart = SPREAD * (2 * u - 1)
        angle = constant(u, STANCE) + apart[:, :3]
        height = (constant(u, ENDS[-1]) * torch.cos(angle)).sum(-1, keepdim=True)  # the foot is on the floor
        still = torch.zeros_like(height)
        return torch.cat((still, height, angle, apart[:, 3:], still.expand(-1, 4)), -1)

    def move(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        robot, shape, push = Robot.of(state), Shape.like(state), action.clamp(-1, 1)
        for _ in range(SUBSTEPS):
            robot = stepped(robot, TORQUE * push, DT / SUBSTEPS, shape)
        hip = robot.place[:, 1] - (shape.ends[1] * torch.cos(robot.angle)).sum(-1)
        fallen = (hip < LOWEST) | (robot.angle[:, 0].abs() > STEEPEST)
        reward = 1 + (robot.place[:, 0] - state[:, 0]) / DT - 0.1 * push.square().sum(-1)
        return torch.cat(robot, -1), reward, fallen

    def observe(self, state: Tensor) -> Tensor:
        place, angle, speed, spin, _ = Robot.of(state)
        return torch.cat((place[:, 1:], angle[:, :1], angle.diff(), speed, spin[:, :1], spin.diff()), -1)


def stepped(robot: Robot, torque: Tensor, dt: float, shape: Shape) -> Robot:
    """A time ``dt`` later, the motors of hip and knee at ``torque`` [N, 2]."""
    forward, up, stretch = floor(robot, dt, shape)
    moving, turning = accelerations(robot, joints(robot, torque, shape), forward, up, shape)
    speed, spin = robot.speed + dt * moving, robot.spin + dt * turning
    return Robot(robot.place + dt * speed, robot.angle + dt * spin, speed, spin, stretch)


def accelerations(robot: Robot, turn: Tensor, forward: Tensor, up: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """(of the centre of mass [N, 2], of the angles [N, 3]) under torques ``turn`` [N, 3] on the rods and forces ``forward``
    and ``up`` [N, 4] at the ends."""
    sin, cos = torch.sin(robot.angle), torch.cos(robot.angle)
    together = sin[:, :, None] * sin[:, None] + cos[:, :, None] * cos[:, None]  # cos(q_j - q_k)
    apart = sin[:, :, None] * cos[:, None] - cos[:, :, None] * sin[:, None]  # sin(q_j - q_k)
    pushed = turn - (shape.coupling * apart * robot.spin.square()[:, None]).sum(-1)
    pushed = pushed + cos * (forward[..., None] * shape.ends).sum(1) + sin * (up[..., None] * shape.ends).sum(1)
    moving = torch.stack((forward.sum(-1), up.sum(-1) - WEIGHT), -1) * (G / WEIGHT)
    return moving, solved(shape.coupling * together + shape.inertia, pushed)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """x [N, 3] of matrix x = right, for symmetric matrices [N, 3, 3]: by Cramer's rule, of products alone."""
    minors = torch.linalg.cross(matrix.roll(-1, 1), matrix.roll(-2, 1))
    return (minors * right[:, None]).sum(-1) / (matrix[:, 0] * minors[:, 0]).sum(-1, keepdim=True)


def floor(robot: Robot, dt: float, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """(force forward, force upward [N, 4], stretch after ``dt``) at the ends."""
    sin, cos = torch.sin(robot.angle), torch.cos(robot.angle)
    height = robot.place[:, 1:] - (shape.ends * cos[:, None]).sum(-1)
    sliding = robot.speed[:, :1] + (shape.ends * (cos * robot.spin)[:, None]).sum(-1)
    rising = robot.speed[:, 1:] + (shape.ends * (sin * robot.spin)[:, None]).sum(-1)
    load = STIFF * (-height).clamp(min=0) * (1 - DAMP * rising).clamp(min=0)
    held = within(STICK * robot.stretch + GRIP * sliding, MU * load)
    return -held, load, within(robot.stretch + dt * sliding, MU / STICK * load)


def joints(robot: Robot, torque: Tensor, shape: Shape) -> Tensor:
    """What hip and knee do to the three rods: motors, drag, and stops at the ends of their ranges, springs like the floor."""
    bend, rate = robot.angle.diff(), robot.spin.diff()
    back = (shape.low - bend).clamp(min=0) * (1 - STOP_DAMP * rate).clamp(min=0)
    forth = (bend - shape.high).clamp(min=0) * (1 + STOP_DAMP * rate).clamp(min=0)
    torque = torque - DRAG * rate + STOP * (back - forth)
    return -torch.nn.functional.pad(torque, (1, 1)).diff()


def within(x: Tensor, most: Tensor) -> Tensor:
    """``x``, cut at +-``most``."""
    return torch.maximum(torch.minimum(x, most), -most)


def energy(robot: Robot) -> Tensor:
    """Kinetic and potential [J], without that of the floor; constant without forces and torques."""
    shape, between = Shape.like(robot.angle), robot.angle[:, :, None] - robot.angle[:, None]
    inertia = shape.coupling * torch.cos(between) + shape.inertia
    turning = (robot.spin[:, :, None] * inertia * robot.spin[:, None]).sum((1, 2))
    return 0.5 * (WEIGHT / G * robot.speed.square().sum(-1) + turning) + WEIGHT * robot.place[:, 1]
