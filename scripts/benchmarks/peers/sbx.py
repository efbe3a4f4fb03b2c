"""SBX: Stable-Baselines3's PPO in JAX, on the same vector environment, as many threads as XLA takes."""

import importlib
import os
from collections.abc import Callable
from pkgutil import resolve_name

from scripts.benchmarks.peers.common import main
from scripts.benchmarks.peers.sb3 import Laps, settings
from scripts.benchmarks.workloads import Workload

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def train(w: Workload, iterations: int, lap: Callable[[], None]) -> None:
    activation = getattr(importlib.import_module("flax.linen"), w.activation)
    PPO = resolve_name("sbx:PPO")
    PPO("MlpPolicy", **settings(w, activation_fn=activation)).learn(iterations * w.batch, callback=Laps(lap))


if __name__ == "__main__":
    main(train)
