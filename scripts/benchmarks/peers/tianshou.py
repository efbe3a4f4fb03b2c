"""tianshou: its ``PPO``, collector and on-policy trainer; observations and returns scaled by its own means."""

from collections.abc import Callable

import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, VectorEnvNormObs
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from torch import nn
from torch.distributions import Independent, Normal

from scripts.benchmarks.peers.activations import ACTIVATIONS
from scripts.benchmarks.peers.common import main, makers, then
from scripts.benchmarks.workloads import Workload


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    envs = VectorEnvNormObs(DummyVectorEnv(makers(w)))
    obs_space, action_space = envs.observation_space[0], envs.action_space[0]

    def net() -> Net:
        return Net(state_shape=obs_space.shape, hidden_sizes=w.hidden, activation=ACTIVATIONS[w.activation])

    actor = ContinuousActorProbabilistic(preprocess_net=net(), action_shape=action_space.shape, unbounded=True)
    nn.init.constant_(actor.sigma_param, w.log_std)
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=lambda parameters: Independent(Normal(*parameters), 1),
        action_space=action_space,
        observation_space=obs_space,
        action_scaling=False,
    )
    algorithm = PPO(
        policy=policy,
        critic=ContinuousCritic(preprocess_net=net()),
        optim=AdamOptimizerFactory(lr=w.lr, eps=1e-5),
        eps_clip=w.clip,
        ent_coef=0.0,
        max_grad_norm=0.5,
        gae_lambda=w.lam,
        max_batchsize=w.batch,
        return_scaling=True,
    )
    collector = Collector(algorithm, envs, VectorReplayBuffer(w.batch, w.num_envs))
    algorithm.update = then(algorithm.update, lap)
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=iterations * w.batch,
            collection_step_num_env_steps=w.batch,
            update_step_num_repetitions=w.epochs,
            batch_size=w.minibatch,
            show_progress=False,
            verbose=False,
        )
    )


if __name__ == "__main__":
    torch.manual_seed(1)
    main(train)
