"""skrl: its ``PPO`` agent and ``SequentialTrainer``; observations by its own running scaler, rewards by gymnasium's."""

import tempfile
from collections.abc import Callable

import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.trainers.torch import SequentialTrainer
from torch import nn

from scripts.benchmarks.peers.activations import ACTIVATIONS
from scripts.benchmarks.peers.common import main, then, vector
from scripts.benchmarks.workloads import Workload


def perceptron(inputs: int, outputs: int, w: Workload) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in w.hidden:
        layers += [nn.Linear(inputs, size), ACTIVATIONS[w.activation]()]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Policy(GaussianMixin, Model):
    def __init__(self, spaces: dict, w: Workload):
        Model.__init__(self, **spaces)
        GaussianMixin.__init__(self)
        self.net = perceptron(self.num_observations, self.num_actions, w)
        self.log_std = nn.Parameter(torch.full((self.num_actions,), w.log_std))

    def compute(self, inputs, role):
        return self.net(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):
    def __init__(self, spaces: dict, w: Workload):
        Model.__init__(self, **spaces)
        DeterministicMixin.__init__(self)
        self.net = perceptron(self.num_observations, 1, w)

    def compute(self, inputs, role):
        return self.net(inputs["observations"]), {}


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    envs = wrap_env(vector(w), wrapper="gymnasium", verbose=False)
    spaces = {"observation_space": envs.observation_space, "action_space": envs.action_space, "device": "cpu"}
    cfg = {
        "rollouts": w.num_steps,
        "learning_epochs": w.epochs,
        "mini_batches": w.batch // w.minibatch,
        "gae_lambda": w.lam,
        "learning_rate": w.lr,
        "ratio_clip": w.clip,
        "value_clip": 0.0,
        "value_loss_scale": 0.5,
        "time_limit_bootstrap": True,
        "observation_preprocessor": RunningStandardScaler,
        "observation_preprocessor_kwargs": {"size": envs.observation_space, "device": "cpu"},
        "experiment": {"directory": tempfile.mkdtemp(), "write_interval": 0, "checkpoint_interval": 0},
    }
    agent = PPO(
        models={"policy": Policy(spaces, w), "value": Value(spaces, w)},
        memory=RandomMemory(memory_size=w.num_steps, num_envs=w.num_envs, device="cpu"),
        cfg=cfg,
        **spaces,
    )
    agent.optimizer.param_groups[0]["eps"] = 1e-5
    agent.update = then(agent.update, lap)
    trainer = {"timesteps": iterations * w.num_steps, "headless": True, "disable_progressbar": True}
    SequentialTrainer(env=envs, agents=agent, cfg=trainer).train()


if __name__ == "__main__":
    main(train)
