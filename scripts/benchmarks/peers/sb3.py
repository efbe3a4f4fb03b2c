"""Stable-Baselines3: ``PPO`` on ``VecNormalize`` over ``DummyVecEnv``."""

from collections.abc import Callable
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from scripts.benchmarks.peers.activations import ACTIVATIONS
from scripts.benchmarks.peers.common import main, makers
from scripts.benchmarks.workloads import Workload


class Laps(BaseCallback):
    """An iteration ends where the next rollout starts, so that logging is in it."""

    def __init__(self, lap: Callable[[], None]):
        super().__init__()
        self.lap = lap

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.lap()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.lap()


def settings(w: Workload, **policy: Any) -> dict[str, Any]:
    """Arguments of PPO, and of sb3-contrib's RecurrentPPO: world and numbers of a workload. ``policy``: further ones of the
    policy's."""
    return {
        "env": VecNormalize(VecMonitor(DummyVecEnv(makers(w))), gamma=0.99),
        "n_steps": w.num_steps,
        "batch_size": w.minibatch,
        "n_epochs": w.epochs,
        "learning_rate": w.lr,
        "clip_range": w.clip,
        "gae_lambda": w.lam,
        "policy_kwargs": {
            "net_arch": {"pi": w.hidden, "vf": w.hidden},
            "activation_fn": ACTIVATIONS[w.activation],
            "ortho_init": w.orthogonal,
            "log_std_init": w.log_std,
            **policy,
        },
        "seed": 1,
        "device": "cpu",
    }


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    PPO("MlpPolicy", **settings(w)).learn(iterations * w.batch, callback=Laps(lap))


if __name__ == "__main__":
    main(train)
