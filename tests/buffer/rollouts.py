"""Small rollouts, and batches of them."""

from functools import partial

import numpy as np
import torch

from envs.action import clip
from envs.base import Step
from ppo.buffer.collect import collect
from ppo.buffer.data import Batch, Transition
from ppo.buffer.minibatches import allocate
from ppo.buffer.prepare import Prepare
from ppo.config.options import option
from ppo.network.actor_critic import ActorCritic
from ppo.network.flat import build_evaluate, flatten
from ppo.network.normaliser import ObsNormaliser

RAW = ObsNormaliser.identity()


class Watched:
    """An environment that hands out its own arrays, and before each call looks whether anyone has written to them.
    Then it spoils them, as it may: they are valid until its next call."""

    name, device = "watched", None

    def __init__(self, envs):
        self.envs, self.num_envs, self.action_space = envs, envs.num_envs, envs.action_space
        self.actions, self.given, self.kept = [], (), ()

    def reset(self, seed):
        return self._give(self.envs.reset(seed).copy())[0]

    def step(self, action):
        self.check()
        for array in self.given:
            array.fill(77)
        self.actions.append(action.copy())
        return Step(*self._give(*(x.copy() for x in self.envs.step(action))))

    def _give(self, *arrays):
        self.given, self.kept = arrays, tuple(x.copy() for x in arrays)
        return arrays

    def check(self):
        for given, kept in zip(self.given, self.kept, strict=True):
            np.testing.assert_array_equal(given, kept)


def roll(envs, *, num_steps, log_std=-1.0, action=clip, normalise=RAW, network="mlp", **options):
    inner = envs.envs if isinstance(envs, Watched) else envs
    build = option("network", network, actor=[8], critic=[8], log_std=log_std, orthogonal=False, **options)
    sizes = (inner.observation_space.shape[0], inner.action_space.shape[0])
    network = build(*sizes, torch.Generator().manual_seed(0))
    rollout = allocate(num_steps, envs.num_envs, inner.observation_space, network)
    to_world = partial(action, space=envs.action_space)
    generator = torch.Generator().manual_seed(1)
    memory = network.empty_memory(envs.num_envs)
    following, _, episodes = collect(envs, network, normalise, to_world, envs.reset(0), memory, rollout, generator)
    return network, rollout, following, episodes


def prepare(network: ActorCritic, rollout: Transition, normalise: ObsNormaliser = RAW, **parts) -> Batch:
    """The rollout as samples: gamma 0.9, lambda 0.8, rewards as they are."""
    made = Prepare(build_evaluate(network), gamma=0.9, lam=0.8, **parts)
    return made(rollout, flatten(network), normalise, torch.Tensor.float)
