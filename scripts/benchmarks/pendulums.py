"""Pendulums on a device behind rsl_rl's interface: a cheap task, so that what is measured is the trainer.

The equations and the reward are those of gymnasium's Pendulum-v1, 200 steps an episode.
"""

import math
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor


class Pendulums:
    """What rsl_rl calls a VecEnv. One group of observations, ``policy``: (cos, sin, speed / 8)."""

    max_episode_length = 200

    def __init__(self, num_envs: int, device: Any = "cpu"):
        self.num_envs, self.num_actions, self.device, self.cfg = num_envs, 1, torch.device(device), {}
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long, device=device)
        self._generator = torch.Generator(device).manual_seed(1)
        self._angle, self._speed = self._drawn()

    def get_observations(self) -> TensorDict:
        obs = torch.stack([self._angle.cos(), self._angle.sin(), self._speed / 8], 1)
        return TensorDict({"policy": obs}, batch_size=[self.num_envs], device=self.device)

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Tensor]]:
        torque = 2 * actions[:, 0].clamp(-1, 1)
        upright = (self._angle + math.pi) % (2 * math.pi) - math.pi
        reward = -(upright.square() + 0.1 * self._speed.square() + 0.001 * torque.square())
        speed = (self._speed + 0.05 * (15 * self._angle.sin() + 3 * torque)).clamp(-8, 8)
        angle = self._angle + 0.05 * speed
        length = self.episode_length_buf + 1
        over = length >= self.max_episode_length
        first_angle, first_speed = self._drawn()
        self._angle, self._speed = torch.where(over, first_angle, angle), torch.where(over, first_speed, speed)
        self.episode_length_buf = torch.where(over, 0, length)
        return self.get_observations(), reward, over, {"time_outs": over}

    def _drawn(self) -> tuple[Tensor, Tensor]:
        unit = 2 * torch.rand(2, self.num_envs, generator=self._generator, device=self.device) - 1
        return math.pi * unit[0], unit[1]


def make(num_envs: int, device: Any) -> Pendulums:
    """For ``env=vecenv env.make=scripts.benchmarks.pendulums.make trust=[scripts]``."""
    return Pendulums(num_envs, device)
