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


class Elsewhere(Point):
    """Actions from 5 to 35, of which 20 does nothing: a new policy's are all below."""

    action_space = Box(5.0, 35.0, (4,), np.float32)

    def step(self, action):
        return super().step((action - 20.0) / 15.0)


class Bandit(Point):
    """Episodes of one step, and rewards that differ little beside what they have in common."""

    def step(self, action):
        *_, info = super().step(action)
        return self.here.astype(np.float32), 100.0 - float(np.mean((action - 0.5) ** 2)), True, False, info


for world in (Point, Thousand, Millionth, Overflow, Jackpot, Lopsided, Blind, Elsewhere, Bandit):
    gymnasium.register(f"{world.__name__}-v0", world)
