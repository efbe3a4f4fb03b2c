"""PPO in the form of CleanRL's single file: eager torch, a tensor for every step, ``torch.optim.Adam``.

Written here, after that form: it stands for the textbook loop that most research code starts from.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import flatdim
from torch import Tensor, nn
from torch.distributions import Normal

from scripts.benchmarks.peers.activations import ACTIVATIONS
from scripts.benchmarks.peers.common import main, make
from scripts.benchmarks.workloads import Workload


class Agent(nn.Module):
    """Separate actor and critic; one log deviation an action."""

    def __init__(self, obs_size: int, action_size: int, w: Workload):
        super().__init__()
        self.actor = perceptron([obs_size, *w.hidden, action_size], w, gain=0.01)
        self.critic = perceptron([obs_size, *w.hidden, 1], w, gain=1.0)
        self.log_std = nn.Parameter(torch.full((action_size,), w.log_std))

    def value(self, obs: Tensor) -> Tensor:
        return self.critic(obs).squeeze(-1)

    def act(self, obs: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(action, its log probability, entropy, value); a new action where none is given."""
        mean = self.actor(obs)
        policy = Normal(mean, self.log_std.expand_as(mean).exp())
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action).sum(-1), policy.entropy().sum(-1), self.value(obs)


def perceptron(sizes: list[int], w: Workload, gain: float) -> nn.Sequential:
    linears = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
    if w.orthogonal:
        for linear in linears:
            nn.init.orthogonal_(linear.weight, gain if linear is linears[-1] else 2**0.5)
            nn.init.zeros_(linear.bias)
    layers = [layer for linear in linears for layer in (linear, ACTIVATIONS[w.activation]())]
    return nn.Sequential(*layers[:-1])


class Minibatch(NamedTuple):
    obs: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor


def gradient_step(agent: Agent, optimiser: torch.optim.Optimizer, b: Minibatch, clip: float) -> tuple[Tensor, float]:
    """One step on one minibatch; (KL by k3, clipped fraction), as the textbook logs them."""
    _, log_prob, entropy, value = agent.act(b.obs, b.action)
    log_ratio = log_prob - b.log_prob
    ratio = log_ratio.exp()
    with torch.no_grad():
        kl = ((ratio - 1) - log_ratio).mean()
        clipped = ((ratio - 1.0).abs() > clip).float().mean().item()
    advantage = (b.advantage - b.advantage.mean()) / (b.advantage.std() + 1e-8)
    policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
    value_loss = (value - b.target).square().mean()
    loss = policy_loss - 0.0 * entropy.mean() + 0.5 * value_loss
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
    optimiser.step()
    return kl, clipped


def world(w: Workload) -> gymnasium.Env:
    """One environment; normalisation by a wrapper around each, as in that form."""
    env = gymnasium.wrappers.RecordEpisodeStatistics(make(w.env))
    env = gymnasium.wrappers.NormalizeObservation(gymnasium.wrappers.ClipAction(env))
    env = gymnasium.wrappers.TransformObservation(env, lambda obs: np.clip(obs, -10, 10), env.observation_space)
    env = gymnasium.wrappers.NormalizeReward(env, gamma=0.99)
    return gymnasium.wrappers.TransformReward(env, lambda reward: float(np.clip(float(reward), -10, 10)))


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    torch.manual_seed(1)
    envs = gymnasium.vector.SyncVectorEnv([lambda: world(w)] * w.num_envs)
    obs_size, action_size = flatdim(envs.single_observation_space), flatdim(envs.single_action_space)
    agent = Agent(obs_size, action_size, w)
    optimiser = torch.optim.Adam(agent.parameters(), lr=w.lr, eps=1e-5)
    obs, action = (torch.zeros(w.num_steps, w.num_envs, size) for size in (obs_size, action_size))
    log_prob, reward, done, value = (torch.zeros(w.num_steps, w.num_envs) for _ in range(4))
    next_obs, next_done = torch.Tensor(envs.reset(seed=1)[0]), torch.zeros(w.num_envs)

    for _ in range(iterations):
        for t in range(w.num_steps):
            obs[t], done[t] = next_obs, next_done
            with torch.no_grad():
                action[t], log_prob[t], _, value[t] = agent.act(next_obs)
            seen, got, terminated, truncated, _ = envs.step(action[t].numpy())
            reward[t] = torch.tensor(got)
            next_obs, next_done = torch.Tensor(seen), torch.Tensor(terminated | truncated)

        with torch.no_grad():
            advantage, last, after, after_done = torch.zeros_like(reward), 0.0, agent.value(next_obs), next_done
            for t in reversed(range(w.num_steps)):
                delta = reward[t] + 0.99 * after * (1 - after_done) - value[t]
                advantage[t] = last = delta + 0.99 * w.lam * (1 - after_done) * last
                after, after_done = value[t], done[t]

        flat = Minibatch(*(x.flatten(0, 1) for x in (obs, action, log_prob, advantage, advantage + value)))
        order = np.arange(w.batch)
        for _ in range(w.epochs):
            np.random.shuffle(order)  # noqa: NPY002  as in that form
            for start in range(0, w.batch, w.minibatch):
                chosen = order[start : start + w.minibatch]
                gradient_step(agent, optimiser, Minibatch(*(x[chosen] for x in flat)), w.clip)
        lap()


if __name__ == "__main__":
    main(train)
