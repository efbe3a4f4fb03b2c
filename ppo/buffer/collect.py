"""Collect a rollout with the current policy."""

from collections.abc import Callable
from typing import Any

import torch

from envs.base import VectorEnv
from ppo.buffer.data import Transition
from ppo.buffer.rows import Episodes, rows_of
from ppo.network.acting import actor, one_thread
from ppo.network.actor_critic import ActorCritic
from ppo.network.memory import Memory
from ppo.network.normaliser import ObsNormaliser


@one_thread()
def collect(
    envs: VectorEnv,
    network: ActorCritic,
    normalise: ObsNormaliser,
    to_world: Callable[[Any], Any],
    obs: Any,
    memory: Memory,
    rollout: Transition,
    generator: torch.Generator,
    own: slice = slice(None),
) -> tuple[Any, Memory, Episodes]:
    """Fill ``rollout [T, N, ...]`` from ``obs [N, O]`` and what ``network`` remembers there; or of a larger one the columns
    ``own``, where ``envs`` are that part of a larger vector.

    Returns the observations and the memory to act on next, and (return, length) of each episode that ended. ``normalise``
    stays the same throughout: the policy that acted is the policy that will be updated. The stored action is the sampled
    one; ``to_world`` makes of it what the environment may receive.
    The rollout is where the world lives, a world of the host on the CPU; one on a device is read once, at the end.
    """
    steps, columns = rollout.reward.shape
    act, rows = actor(network, normalise, columns, envs.device), rows_of(rollout, own, envs.name, envs.device)
    carry = memory.numpy() if envs.device is None and network.memory_size else memory
    for noise in network.noise(steps, columns, generator):
        seen = rows.before(obs, carry)
        action, parameters, carry = act(seen, noise, carry)
        step = envs.step(to_world(action[own]))
        carry = rows.after(action, parameters, step, carry)
        obs = step.obs
    return obs, *rows.done(carry)
