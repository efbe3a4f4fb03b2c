"""A pole that hangs from a cart, to be swung up and balanced."""

import math

import torch
from torch import Tensor

from envs.batched.task import Task, bounded, unbounded
from envs.device import constant

G, CART, POLE, HALF, DT, FORCE, REACH = 9.8, 1.0, 0.1, 0.5, 0.02, 10.0, 2.4  # kg, m, s, N


class CartPoleSwingUp(Task):
    """State: position [m], angle [rad], 0 is up, and their speeds. The pole starts hanging down; leaving the track of
    +-2.4 m terminates. Reward a step: 1 upright and slow, 0 hanging.

    The frictionless equations of Barto, Sutton & Anderson 1983 (corrected by Florian 2007), semi-implicit Euler.
    """

    name, limit, fps, draws = "cartpole_swingup", 500, 1 / DT, 4
    observation_space, action_space = unbounded(5), bounded(1)

    def begin(self, u: Tensor) -> Tensor:
        return (2 * u - 1) * 0.05 + constant(u, (0.0, math.pi, 0.0, 0.0))

    def move(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, angle, v, spin = state.unbind(-1)
        push = action[:, 0].clamp(-1, 1)
        after = stepped(x, angle, v, spin, FORCE * push, DT)
        x, angle, _, spin = after
        upright = 0.5 * (1 + torch.cos(angle))
        reward = upright / (1 + 0.01 * spin.square()) - 0.01 * push.square()
        return torch.stack(after, -1), reward, x.abs() > REACH

    def observe(self, state: Tensor) -> Tensor:
        x, angle, v, spin = state.unbind(-1)
        return torch.stack((x, torch.cos(angle), torch.sin(angle), v, spin), -1)


def stepped(
    x: Tensor, angle: Tensor, v: Tensor, spin: Tensor, force: Tensor, dt: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, angle, v, spin) a time ``dt`` later; the pole is a rod of 2 ``HALF`` metres."""
    sin, cos = torch.sin(angle), torch.cos(angle)
    pushed = (force + POLE * HALF * spin.square() * sin) / (CART + POLE)
    turning = (G * sin - cos * pushed) / (HALF * (4 / 3 - POLE * cos.square() / (CART + POLE)))
    moving = pushed - POLE * HALF * turning * cos / (CART + POLE)
    v, spin = v + dt * moving, spin + dt * turning
    return x + dt * v, angle + dt * spin, v, spin


def energy(x: Tensor, angle: Tensor, v: Tensor, spin: Tensor) -> Tensor:
    """Kinetic and potential [J]; constant without a force."""
    cross = POLE * HALF * v * spin * torch.cos(angle)
    kinetic = 0.5 * (CART + POLE) * v.square() + cross + 0.5 * (4 / 3) * POLE * HALF**2 * spin.square()
    return kinetic + POLE * G * HALF * torch.cos(angle)
