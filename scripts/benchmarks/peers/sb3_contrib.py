"""sb3-contrib: ``RecurrentPPO``, an LSTM each for actor and critic, on ``VecNormalize`` over ``DummyVecEnv``."""

from collections.abc import Callable

import numpy as np
from sb3_contrib import RecurrentPPO

from scripts.benchmarks.peers.common import main
from scripts.benchmarks.peers.sb3 import Laps, settings
from scripts.benchmarks.workloads import Workload


def in_pieces(samples: Callable, chunk: int) -> Callable:
    """``samples`` of a rollout buffer, whose sequences, else as long as a minibatch, begin anew every ``chunk`` steps."""

    def call(indices: np.ndarray, begins: np.ndarray, *args):
        begins[::chunk] = 1.0
        return samples(indices, begins, *args)

    return call


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    model = RecurrentPPO("MlpLstmPolicy", **settings(w, lstm_hidden_size=w.memory))
    buffer = model.rollout_buffer
    buffer._get_samples = in_pieces(buffer._get_samples, w.chunk)
    model.learn(iterations * w.batch, callback=Laps(lap))


if __name__ == "__main__":
    main(train)
