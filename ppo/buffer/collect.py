"""Collect a rollout with the current policy, and prepare it for learning."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from envs.base import VectorEnv
from ppo.buffer.data import Batch, Pairs, Transition, in_chunks, tree_map
from ppo.buffer.gae import gae
from ppo.buffer.minibatches import flatten_time
from ppo.network.acting import actor, one_thread
from ppo.network.actor_critic import ActorCritic
from ppo.network.distributions import Policy
from ppo.network.flat import unflatten
from ppo.network.normaliser import ObsNormaliser


@one_thread()
def collect(
    envs: VectorEnv,
    network: ActorCritic,
    normalise: ObsNormaliser,
    to_world: Callable[[np.ndarray], np.ndarray],
    obs: np.ndarray,
    rollout: Transition,
    generator: torch.Generator,
    own: slice = slice(None),
) -> tuple[np.ndarray, list[tuple[float, int]]]:
    """Fill ``rollout [T, N, ...]`` (on the CPU) from ``obs [N, O]``; or of a larger one the columns ``own``, where
    ``envs`` are that part of a larger vector.

    Returns the observations to act on next, and (return, length) of each episode that ended. ``normalise`` stays the
    same throughout: the policy that acted is the policy that will be updated. The stored action is the sampled one;
    ``to_world`` makes of it what the environment may receive.
    """
    noise = network.noise(*rollout.reward.shape, generator)
    act = actor(network, normalise, rollout.reward.shape[1])
    world = tree_map(Tensor.numpy, rollout)  # the same memory: writing a row costs no tensor operation
    episodes: list[tuple[float, int]] = []
    for t in range(len(noise)):
        world.obs[t, own] = obs
        # For every column, also those that are not ours: how a product rounds depends on how many rows it has.
        world.action[t], parameters = act(world.obs[t], noise[t])
        for kept, x in zip(world.policy, parameters, strict=True):
            kept[t] = x
        step = envs.step(to_world(world.action[t, own]))
        world.reward[t, own], world.next_obs[t, own], world.group[t, own] = step.reward, step.next_obs, step.group
        world.terminated[t, own] = step.terminated
        world.done[t, own] = ended = step.terminated | step.truncated
        if ended.any():
            episodes += zip(step.episode_return[ended].tolist(), step.episode_length[ended].tolist(), strict=True)
        obs = step.obs
    return obs, episodes


def build_refresh(
    rollout: Transition,
    network: ActorCritic,
    normalise: ObsNormaliser,
    scale_reward: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    gamma: float,
    lam: float,
) -> Callable[[Tensor, Batch], Batch]:
    """``refresh(params, batch)``: advantages and targets as the critic at ``params`` sees them; all else as it was.

    Of the rollout that ``batch`` was prepared from, by the same arguments. Andrychowicz et al. 2021.
    """
    cut = unflatten(network)
    rollout = tree_map(lambda x: x.to(device, copy=True), rollout)
    obs, next_obs, reward = normalise(rollout.obs), normalise(rollout.next_obs), scale_reward(rollout.reward)

    @torch.no_grad()
    def refresh(params: Tensor, batch: Batch) -> Batch:
        predictions = (in_chunks(lambda y: functional_call(network, cut(params), (y,))[1], x) for x in (obs, next_obs))
        value, next_value = (x.view(*reward.shape, -1).mean(-1) for x in predictions)
        advantage = gae(reward, value, next_value, rollout.terminated, rollout.done, gamma, lam)
        return batch._replace(advantage=advantage.flatten(0, 1), target=(advantage + value).flatten(0, 1))

    return refresh


@torch.no_grad()
def prepare(
    rollout: Transition,
    network: ActorCritic,
    normalise: ObsNormaliser,
    scale_reward: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    gamma: float,
    lam: float,
    reference: Callable[[Tensor], Policy] | None = None,
    demo: Callable[[ObsNormaliser, tuple[int, ...]], Pairs] | None = None,
) -> Batch:
    """The rollout as samples ``[T * N, ...]``: observations normalised, values, advantages and targets computed once.

    On ``device``, in memory of its own. The critic values the true successor of every step, so that truncation needs
    no special case. The behaviour policy is evaluated again, by the network that learns: rounding apart it is the one
    that acted (the run checks that), and the first ratio is 1 exactly. ``reference`` sees the observations as they are;
    ``demo`` draws as many demonstrated pairs.
    """
    rollout = tree_map(lambda x: x.to(device, copy=True), rollout)
    obs = normalise(rollout.obs)
    policy, value = in_chunks(network.policy, obs), in_chunks(network.value, obs)
    next_value = in_chunks(network.value, normalise(rollout.next_obs))
    reward = scale_reward(rollout.reward)
    advantage = gae(reward, value, next_value, rollout.terminated, rollout.done, gamma, lam)
    return flatten_time(
        Batch(
            obs=obs,
            action=rollout.action,
            policy=policy,  # in memory of its own: the parameters will move
            value=value,
            target=advantage + value,
            advantage=advantage,
            group=rollout.group,
            mask=torch.ones_like(rollout.done),
            noise=value[..., None][..., :0],
            reference=() if reference is None else in_chunks(reference, rollout.obs),
            demo=() if demo is None else demo(normalise, tuple(rollout.reward.shape)),
        )
    )
