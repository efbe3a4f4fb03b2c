"""rsl_rl: its ``OnPolicyRunner``; observations by its empirical normalisation, rewards by gymnasium's wrapper."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from gymnasium.spaces import Box, flatdim
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict
from torch import Tensor

from scripts.benchmarks.peers.common import main, then, vector
from scripts.benchmarks.workloads import Workload


class World(VecEnv):
    """gymnasium's vector environment in the form that rsl_rl asks for."""

    def __init__(self, w: Workload):
        self.envs = vector(w)
        space = cast(Box, self.envs.single_action_space)
        self.num_envs, self.num_actions = w.num_envs, flatdim(space)
        self.max_episode_length, self.device, self.cfg = 1000, "cpu", {}
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.obs, _ = self.envs.reset(seed=1)
        self.low, self.high = space.low, space.high

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": torch.as_tensor(self.obs, dtype=torch.float32)}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict]:
        action = actions.numpy().clip(self.low, self.high)
        self.obs, reward, terminated, truncated, _ = self.envs.step(action)
        done = torch.as_tensor(terminated | truncated)
        self.episode_length_buf = torch.where(done, 0, self.episode_length_buf + 1)
        extras = {"time_outs": torch.as_tensor(truncated)}
        return self.get_observations(), torch.as_tensor(reward, dtype=torch.float32), done, extras


def settings(w: Workload, *, std_type: str, **algorithm: Any) -> dict[str, Any]:
    """The runner's: the numbers of a workload, and what ``algorithm`` says beside them."""
    network = {"class_name": "MLPModel", "hidden_dims": w.hidden, "activation": w.activation, "obs_normalization": True}
    gaussian = {"class_name": "GaussianDistribution", "init_std": math.exp(w.log_std), "std_type": std_type}
    of_workload = {
        "class_name": "PPO",
        "num_learning_epochs": w.epochs,
        "num_mini_batches": w.batch // w.minibatch,
        "clip_param": w.clip,
        "lam": w.lam,
        "learning_rate": w.lr,
        "schedule": "fixed",
    }
    return {
        "num_steps_per_env": w.num_steps,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": network | {"distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": of_workload | algorithm,
    }


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    cfg = settings(
        w,
        std_type="log",
        value_loss_coef=0.5,
        entropy_coef=0.0,
        max_grad_norm=0.5,
        use_clipped_value_loss=False,
        normalize_advantage_per_mini_batch=True,
    )
    runner = OnPolicyRunner(World(w), cfg, log_dir=None, device="cpu")
    runner.alg.optimizer.param_groups[0]["eps"] = 1e-5
    runner.logger.log = then(runner.logger.log, lap)
    runner.learn(iterations)


if __name__ == "__main__":
    main(train)
