"""rejax: PPO and gymnax's Pendulum-v1 as one JAX program, on as many threads as XLA takes. For that task alone.

Its deviation begins at 1 and its layers as flax has them; it clips gradients by entry, not by norm, and the critic's loss. In
an environment of its own: ``pip install rejax 'gymnax<0.1'``, which rejax 0.1.3 needs and does not say.
"""

import importlib
import json
import os
import sys
import time
from pkgutil import resolve_name

from scripts.benchmarks.workloads import Workload

os.environ.setdefault("JAX_PLATFORMS", "cpu")
TASK = "Pendulum-v1"


def main() -> None:
    """Print one JSON line: the seconds of each iteration. All but the first are one program, their time shared evenly."""
    w, iterations = Workload(**json.loads(sys.argv[1])), int(sys.argv[2])
    if w.env != TASK:
        sys.exit(f"error: rejax is measured on {TASK} alone")
    jax, PPO = importlib.import_module("jax"), resolve_name("rejax:PPO")
    began = time.perf_counter()
    agent = PPO.create(
        env=TASK,
        num_envs=w.num_envs,
        num_steps=w.num_steps,
        num_epochs=w.epochs,
        num_minibatches=w.batch // w.minibatch,
        learning_rate=w.lr,
        max_grad_norm=0.5,
        gamma=0.99,
        gae_lambda=w.lam,
        clip_eps=w.clip,
        ent_coef=0.0,
        vf_coef=0.5,
        normalize_observations=True,
        normalize_rewards=True,
        agent_kwargs={"hidden_layer_sizes": tuple(w.hidden), "activation": w.activation},
    )

    @jax.jit
    def go(state):
        return jax.lax.fori_loop(0, iterations - 1, lambda _, state: agent.train_iteration(state), state)

    state = jax.jit(agent.init_state)(jax.random.PRNGKey(1))
    for _ in range(2):  # its first state is of other types than those after it
        state = jax.block_until_ready(go(state))
    warm = time.perf_counter()
    jax.block_until_ready(go(state))
    each = (time.perf_counter() - warm) / (iterations - 1)
    print("\n" + json.dumps({"seconds": [warm - began] + [each] * (iterations - 1)}), flush=True)


if __name__ == "__main__":
    main()
