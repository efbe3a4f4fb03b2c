"""sb3-contrib: ``RecurrentPPO``, an LSTM each for actor and critic, on ``VecNormalize`` over ``DummyVecEnv``."""

from collections.abc import Callable

import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from scripts.benchmarks.peers.common import ACTIVATIONS, main, makers
from scripts.benchmarks.peers.sb3 import Laps
from scripts.benchmarks.workloads import Workload


def in_pieces(samples: Callable, chunk: int) -> Callable:
    """``samples`` of a rollout buffer, whose sequences, else as long as a minibatch, begin anew every ``chunk`` steps."""

    def call(indices: np.ndarray, begins: np.ndarray, *args):
        begins[::chunk] = 1.0
        return samples(indices, begins, *args)

    return call


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    model = RecurrentPPO(
        "MlpLstmPolicy",
        VecNormalize(VecMonitor(DummyVecEnv(makers(w))), gamma=0.99),
        n_steps=w.num_steps,
        batch_size=w.minibatch,
        n_epochs=w.epochs,
        learning_rate=w.lr,
        clip_range=w.clip,
        gae_lambda=w.lam,
        policy_kwargs={
            "net_arch": {"pi": w.hidden, "vf": w.hidden},
            "activation_fn": ACTIVATIONS[w.activation],
            "ortho_init": w.orthogonal,
            "log_std_init": w.log_std,
            "lstm_hidden_size": w.memory,
        },
        seed=1,
        device="cpu",
    )
    buffer = model.rollout_buffer
    buffer._get_samples = in_pieces(buffer._get_samples, w.chunk)
    model.learn(iterations * w.batch, callback=Laps(lap))


if __name__ == "__main__":
    main(train)
