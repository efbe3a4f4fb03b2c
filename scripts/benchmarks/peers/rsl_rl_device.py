"""rsl_rl on pendulums that live on a device: its ``OnPolicyRunner`` as it comes, and what its first minibatch sees.

Prints one JSON line: seconds of every rollout and update, and KL(policy that acted || policy to be updated) before the first
step of each update, the mean over the rollout.
"""

import json
import sys
import time
from typing import Any, cast

import torch
from rsl_rl.runners import OnPolicyRunner

from scripts.benchmarks.peers.rsl_rl import settings
from scripts.benchmarks.pendulums import Pendulums
from scripts.benchmarks.workloads import Workload


def first_kl(alg: Any) -> float:
    """Of the policy as it is now from the one that acted; 0 where nothing moved meanwhile [nat]."""
    with torch.no_grad():
        storage = alg.storage
        alg.actor(storage.observations.flatten(0, 1), stochastic_output=True)
        old = tuple(x.flatten(0, 1) for x in storage.distribution_params)
        return alg.actor.get_kl_divergence(old, alg.actor.output_distribution_params).mean().item()


def main() -> None:
    w, iterations, threads = Workload(**json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    device = sys.argv[4]
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    cfg = settings(
        w,
        std_type="scalar",
        gamma=0.99,
        value_loss_coef=1.0,
        entropy_coef=0.01,
        max_grad_norm=1.0,
        use_clipped_value_loss=True,
    )
    runner = OnPolicyRunner(cast(Any, Pendulums(w.num_envs, device)), cfg, log_dir=None, device=device)
    told: dict[str, list[float]] = {"rollout": [], "update": [], "first_kl": []}

    def note(collect_time: float, learn_time: float, **_: Any) -> None:
        told["rollout"].append(collect_time)
        told["update"].append(learn_time - seconds.pop())

    seconds: list[float] = []  # that the look at the KL took
    update = runner.alg.update

    def looked_at() -> Any:
        began = time.perf_counter()
        told["first_kl"].append(first_kl(runner.alg))
        seconds.append(time.perf_counter() - began)
        return update()

    runner.alg.update, runner.logger.log = looked_at, note
    runner.learn(iterations, init_at_random_ep_len=True)
    print("\n" + json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
