"""RLtools: ``PPO``, a C++ program compiled for the sizes of the workload, over gymnasium's environments.

Its recipe is not quite everybody's: observations are normalised, rewards are not, and the gradient is not clipped. With
the system's OpenBLAS, which its compiler must find, it is two to three times as fast as without: it is not measured
without.
"""

import math
import sys
from collections.abc import Callable
from ctypes.util import find_library
from functools import partial
from pkgutil import resolve_name

from scripts.benchmarks.peers.common import main, make
from scripts.benchmarks.workloads import Workload


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    if not find_library("blas"):
        sys.exit("RLtools needs OpenBLAS from the system's packages: apt install libopenblas-dev")
    (width,) = set(w.hidden)  # it has one width for all layers
    module = resolve_name("rltools:PPO")(
        partial(make, w.env),
        interface_name=w.name.replace("-", "_"),  # one compiled program a workload, kept in its cache
        force_blas=True,
        enable_evaluation=False,
        STEP_LIMIT=iterations,
        N_ENVIRONMENTS=w.num_envs,
        ON_POLICY_RUNNER_STEPS_PER_ENV=w.num_steps,
        N_EPOCHS=w.epochs,
        BATCH_SIZE=w.minibatch,
        LAMBDA=w.lam,
        EPSILON_CLIP=w.clip,
        OPTIMIZER_ALPHA=w.lr,
        OPTIMIZER_EPSILON=1e-5,
        INITIAL_ACTION_STD=math.exp(w.log_std),
        ACTION_ENTROPY_COEFFICIENT=0.0,
        NORMALIZE_OBSERVATIONS=True,
        ACTOR_HIDDEN_DIM=width,
        CRITIC_HIDDEN_DIM=width,
        ACTOR_NUM_LAYERS=len(w.hidden) + 1,
        CRITIC_NUM_LAYERS=len(w.hidden) + 1,
        ACTOR_ACTIVATION_FUNCTION=w.activation.upper(),
        CRITIC_ACTIVATION_FUNCTION=w.activation.upper(),
    )
    state = module.State(1)
    for _ in range(iterations):
        state.step()
        lap()


if __name__ == "__main__":
    main(train)
