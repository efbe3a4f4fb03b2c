"""Collect a rollout with the current policy."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from envs.base import VectorEnv
from ppo.buffer.data import Transition, tree_map
from ppo.network.acting import actor, one_thread
from ppo.network.actor_critic import ActorCritic
from ppo.network.memory import Memory
from ppo.network.normaliser import ObsNormaliser


@one_thread()
def collect(
    envs: VectorEnv,
    network: ActorCritic,
    normalise: ObsNormaliser,
    to_world: Callable[[np.ndarray], np.ndarray],
    obs: np.ndarray,
    memory: Memory,
    rollout: Transition,
    generator: torch.Generator,
    own: slice = slice(None),
) -> tuple[np.ndarray, Memory, list[tuple[float, int]]]:
    """Fill ``rollout [T, N, ...]`` (on the CPU) from ``obs [N, O]`` and what ``network`` remembers there; or of a larger
    one the columns ``own``, where ``envs`` are that part of a larger vector.

    Returns the observations and the memory to act on next, and (return, length) of each episode that ended. ``normalise``
    stays the same throughout: the policy that acted is the policy that will be updated. The stored action is the sampled
    one; ``to_world`` makes of it what the environment may receive.
    """
    noise = network.noise(*rollout.reward.shape, generator)
    act = actor(network, normalise, rollout.reward.shape[1])
    world = tree_map(Tensor.numpy, rollout)  # the same memory: writing a row costs no tensor operation
    carry = tree_map(Tensor.numpy, memory)
    episodes: list[tuple[float, int]] = []
    for t in range(len(noise)):
        world.obs[t, own] = obs
        if network.memory_size:
            world.memory[t] = carry
        # For every column, also those that are not ours: how a product rounds depends on how many rows it has.
        world.action[t], parameters, carry = act(world.obs[t], noise[t], carry)
        for kept, x in zip(world.policy, parameters, strict=True):
            kept[t] = x
        step = envs.step(to_world(world.action[t, own]))
        world.reward[t, own], world.next_obs[t, own], world.group[t, own] = step.reward, step.next_obs, step.group
        world.terminated[t, own] = step.terminated
        world.done[t, own] = ended = step.terminated | step.truncated
        if ended.any():
            episodes += zip(step.episode_return[ended].tolist(), step.episode_length[ended].tolist(), strict=True)
            if network.memory_size:
                carry[own][ended] = 0.0
        obs = step.obs
    return obs, torch.from_numpy(carry) if network.memory_size else (), episodes
