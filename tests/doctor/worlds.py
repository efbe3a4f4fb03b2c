"""Point, a task that PPO learns in seconds, and the same with one fault each. ``env=gym env.id=tests.doctor.worlds:NAME``."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Point(gymnasium.Env):
    """A point in four dimensions is to be brought to the origin: 25 steps, reward -mean(position^2)."""

    observation_space = Box(-3.0, 3.0, (4,), np.float32)
    action_space = Box(-1.0, 1.0, (4,), np.float32)
    weight = np.full(4, 0.25)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.here = 0, self.np_random.uniform(-2.0, 2.0, 4)
        return self.here.astype(np.float32), {}

    def step(self, action):
        self.clock += 1
        self.here = np.clip(self.here + 0.2 * action, -3.0, 3.0)
        return self.here.astype(np.float32), self.reward(), False, self.clock == 25, {}

    def reward(self) -> float:
        return -float(self.weight @ self.here**2)


class Thousand(Point):
    """Rewards in another unit: a thousand times as large."""

    def reward(self) -> float:
        return 1000 * super().reward()


class Millionth(Point):
    def reward(self) -> float:
        return 1e-6 * super().reward()


class Overflow(Point):
    """Rewards at the edge of float32: their discounted sum is beyond it."""

    def reward(self) -> float:
        return 3e38 * super().reward()


class Jackpot(Point):
    """One step in 1000 pays ``prize``, whatever was done."""

    def __init__(self, prize: float = 100.0):
        self.prize = prize

    def reward(self) -> float:
        return super().reward() + self.prize * (self.np_random.random() < 1 / 1000)


class Lopsided(Point):
    """Only the first action matters."""

    weight = np.array([1.0, 0.0, 0.0, 0.0])


class Blind(Point):
    """Observes nothing but noise, so that no critic can foresee anything."""

    def step(self, action):
        _, *rest = super().step(action)
        return self.np_random.uniform(-1.0, 1.0, 4).astype(np.float32), *rest


class Shock(Point):
    """Fair weather for ``calm`` steps; then one step in ``rare`` costs ``size`` times what it should, and ``growth`` times
    as much each time."""

    def __init__(self, calm: int = 1500, rare: int = 400, size: float = 1e3, growth: float = 1.0):
        self.calm, self.rare, self.size, self.growth = calm, rare, size, growth
        self.steps = 0

    def reward(self) -> float:
        self.steps += 1
        if self.steps <= self.calm or self.np_random.random() >= 1 / self.rare:
            return super().reward()
        self.size *= self.growth
        return self.size / self.growth * super().reward()


for world in (Point, Thousand, Millionth, Overflow, Jackpot, Lopsided, Blind, Shock):
    gymnasium.register(f"{world.__name__}-v0", world)
