"""A point mass in the plane that is to reach a target between obstacles."""

import torch
from torch import Tensor

from envs.batched.task import Task, bounded, unbounded
from envs.device import constant

DT, THRUST, DRAG, OBSTACLES, RADIUS, ARENA = 0.05, 4.0, 1.0, 3, 0.2, 1.5


class Reacher(Task):
    """State: position and speed of the mass, target, and the centres of three discs. Touching a disc, or leaving the
    square of +-1.5, terminates with reward -1; else it is 1 at the target and falls with the distance.

    The mass starts near (-1, 0), the target is on the right, the discs stand between, and all are drawn anew.
    """

    name, limit, fps, draws = "reacher", 150, 1 / DT, 4 + 2 * OBSTACLES
    observation_space, action_space = unbounded(6 + 2 * OBSTACLES), bounded(2)

    def begin(self, u: Tensor) -> Tensor:
        start = u[:, 0:2] * constant(u, (0.2, 1.0)) + constant(u, (-1.2, -0.5))
        target = u[:, 2:4] * constant(u, (0.3, 1.6)) + constant(u, (0.8, -0.8))
        discs = u[:, 4:] * constant(u, (0.9, 2.0)).repeat(OBSTACLES) + constant(u, (-0.5, -1.0)).repeat(OBSTACLES)
        return torch.cat((start, torch.zeros_like(start), target, discs), -1)

    def move(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        position, speed, target, discs = state.split((2, 2, 2, 2 * OBSTACLES), -1)
        thrust = action.clamp(-1, 1)
        speed = speed + DT * (THRUST * thrust - DRAG * speed)
        position = position + DT * speed
        gap = (discs.unflatten(-1, (OBSTACLES, 2)) - position[:, None]).square().sum(-1)
        lost = (gap < RADIUS**2).any(-1) | (position.abs() > ARENA).any(-1)
        distance = (target - position).square().sum(-1).sqrt()
        reward = torch.where(lost, -1.0, torch.exp(-2 * distance) - 0.01 * thrust.square().sum(-1))
        return torch.cat((position, speed, target, discs), -1), reward, lost

    def observe(self, state: Tensor) -> Tensor:
        position, speed, target, discs = state.split((2, 2, 2, 2 * OBSTACLES), -1)
        around = discs.unflatten(-1, (OBSTACLES, 2)) - position[:, None]
        return torch.cat((position, speed, target - position, around.flatten(1)), -1)
