"""The pendulum to swing up: gymnasium's Pendulum-v1, for any number of worlds at once."""

import math

import torch
from torch import Tensor

from envs.batched.task import Task, bounded, never, unbounded
from envs.device import constant

G, MASS, LENGTH, DT, MAX_SPEED, MAX_TORQUE = 10.0, 1.0, 1.0, 0.05, 8.0, 2.0


class Pendulum(Task):
    """State: angle [rad], 0 is up, and speed [rad/s]. The reward is at most 0, and an episode has 200 steps.

    speed <- clip(speed + (3 g / (2 l) sin(angle) + 3 / (m l^2) torque) dt), angle <- angle + speed dt.
    """

    name, limit, fps, draws = "pendulum", 200, 1 / DT, 2
    observation_space, action_space = unbounded(3), bounded(1, MAX_TORQUE)

    def begin(self, u: Tensor) -> Tensor:
        return (2 * u - 1) * constant(u, (math.pi, 1.0))

    def move(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        angle, speed = state.unbind(-1)
        torque = action[:, 0].clamp(-MAX_TORQUE, MAX_TORQUE)
        off = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        # addcmul and add(alpha=...): few operations a step, since calls and not arithmetic are what a small world costs
        reward = torch.addcmul(torch.addcmul(-(off * off), speed, speed, value=-0.1), torque, torque, value=-0.001)
        speed = torch.add(speed, torch.sin(angle), alpha=DT * 3 * G / (2 * LENGTH))
        speed = torch.add(speed, torque, alpha=DT * 3.0 / (MASS * LENGTH**2)).clamp(-MAX_SPEED, MAX_SPEED)
        return torch.stack((torch.add(angle, speed, alpha=DT), speed), -1), reward, never(state)

    def observe(self, state: Tensor) -> Tensor:
        angle, speed = state.unbind(-1)
        return torch.stack((torch.cos(angle), torch.sin(angle), speed), -1)
