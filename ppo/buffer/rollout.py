"""Collect a rollout with the current policy, and prepare it for learning."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from envs.base import VectorEnv
from ppo.buffer.gae import gae
from ppo.buffer.trajectory import allocate, flatten_time
from ppo.network.actor_critic import ActorCritic
from ppo.types import Batch, Gaussian, Transition


@torch.no_grad()
def collect(
    envs: VectorEnv,
    network: ActorCritic,
    normalise: Callable[[Tensor], Tensor],
    to_world: Callable[[np.ndarray], np.ndarray],
    obs: Tensor,
    generator: torch.Generator,
    *,
    num_steps: int,
) -> tuple[Transition, Tensor, list[tuple[float, int]]]:
    """``num_steps`` vector steps from ``obs [N, O]``.

    Returns the rollout ``[T, N, ...]``, the observations to act on next, and (return, length) of each episode that
    ended. ``normalise`` stays the same throughout: the policy that acted is the policy that will be updated.
    The stored action is the sampled one; ``to_world`` makes of it what the environment may receive.
    """
    device = next(network.parameters()).device
    noise = torch.randn((num_steps, envs.num_envs, *envs.action_space.shape), generator=generator).to(device)
    rollout, episodes = None, []
    for t in range(num_steps):
        policy = network.policy(normalise(obs))
        action = policy.mean + policy.log_std.exp() * noise[t]
        step = envs.step(to_world(action.cpu().numpy()))
        ended = step.terminated | step.truncated
        transition = Transition(
            obs=obs,
            action=action,
            policy=Gaussian(*policy),
            reward=torch.as_tensor(step.reward, device=device),
            next_obs=torch.as_tensor(step.next_obs, device=device),
            terminated=torch.as_tensor(step.terminated, device=device),
            done=torch.as_tensor(ended, device=device),
            group=torch.as_tensor(step.group, device=device),
        )
        if rollout is None:
            rollout = allocate(transition, num_steps)
        _write(rollout, transition, t)
        if ended.any():
            finished = ended.nonzero()[0]
            episodes += zip(step.episode_return[finished].tolist(), step.episode_length[finished].tolist(), strict=True)
        obs = torch.tensor(step.obs, device=device)  # a copy: the environment's array is valid until its next call
    return rollout, obs, episodes


def _write(rollout: Transition, transition: Transition, t: int) -> None:
    for stored, new in zip(rollout, transition, strict=True):
        if isinstance(new, Tensor):
            stored[t] = new
        else:
            _write(stored, new, t)


@torch.no_grad()
def prepare(
    rollout: Transition,
    network: ActorCritic,
    normalise: Callable[[Tensor], Tensor],
    scale_reward: Callable[[Tensor], Tensor],
    *,
    gamma: float,
    lam: float,
) -> Batch:
    """The rollout as samples ``[T * N, ...]``: observations normalised, values, advantages and targets computed once.

    The critic values the true successor of every step, so that truncation needs no special case.
    """
    obs = normalise(rollout.obs)
    value = network.value(obs)
    next_value = network.value(normalise(rollout.next_obs))
    reward = scale_reward(rollout.reward)
    advantage = gae(reward, value, next_value, rollout.terminated, rollout.done, gamma, lam)
    return flatten_time(
        Batch(
            obs=obs,
            action=rollout.action,
            policy=rollout.policy,
            log_prob=rollout.policy.log_prob(rollout.action),
            value=value,
            target=advantage + value,
            advantage=advantage,
            group=rollout.group,
            mask=torch.ones_like(rollout.done),
        )
    )
