"""What is trained in the benchmarks: the sizes and the recipe, the same for every program. Imports nothing but Python."""

import sys
from typing import NamedTuple


class Workload(NamedTuple):
    """Gamma .99, norm clip .5, value coefficient .5, Adam eps 1e-5, advantages normalised by minibatch: for all."""

    name: str
    env: str  # gymnasium id for the peers: their own world
    ours: list[str]  # words that choose the same task here
    num_envs: int
    num_steps: int  # vector steps in a rollout
    epochs: int
    minibatch: int
    hidden: list[int]  # separate actor and critic
    activation: str = "tanh"
    orthogonal: bool = True
    log_std: float = 0.0
    lr: float = 3e-4
    clip: float = 0.2
    lam: float = 0.95
    memory: int = 0  # units of the actor's and of the critic's recurrent layer, before the hidden ones; 0: none
    chunk: int = 16  # steps in a row that are then learned from together

    @property
    def batch(self) -> int:
        """Environment steps of one iteration."""
        return self.num_envs * self.num_steps


_SIZES = {"W1": (1, 2048, 10, 64), "W2": (8, 256, 10, 64), "W3": (32, 128, 4, 1024)}
_CHEETAH = ("HalfCheetah-v5", ["env=mujoco", "env.id=HalfCheetah-v5"])
_BULLET_CHEETAH = ("HalfCheetahBulletEnv-v0", ["env=halfcheetah"])
_PENDULUM = ("Pendulum-v1", ["env=batched", "env.task=pendulum"])
_MANY = (4096, 32, 5, 32_768)
_ZOO_ANT = Workload(
    *("zoo-ant", "AntBulletEnv-v0", ["env=ant"], 16, 512, 20, 128),
    hidden=[256, 256],
    activation="relu",
    orthogonal=False,
    log_std=-1.0,
    lr=3e-5,
    clip=0.4,
    lam=0.9,
)

WORKLOADS = {
    w.name: w
    for w in (
        *(Workload(name, *_CHEETAH, *sizes, [64, 64]) for name, sizes in _SIZES.items()),
        *(Workload(f"{name}-bullet", *_BULLET_CHEETAH, *sizes, [64, 64]) for name, sizes in _SIZES.items()),
        *(Workload(f"{name}-batched", *_PENDULUM, *_SIZES[name], [64, 64]) for name in ("W2", "W3")),
        Workload("many-batched", *_PENDULUM, *_MANY, [64, 64]),
        _ZOO_ANT,
        Workload("W2-memory", *_CHEETAH, *_SIZES["W2"], [64], memory=64),
    )
}


def pick(names: str, known: dict) -> dict:
    """The entries of ``known`` named in a comma-separated list. Ends the program where there is no such name."""
    unknown = [name for name in names.split(",") if name and name not in known]
    if unknown:
        sys.exit(f"error: {unknown[0]}: choose from {', '.join(known)}")
    return {name: known[name] for name in names.split(",") if name}
