"""What the tests share: one torch thread, shape checks, small learning problems, and runs in a folder of their own."""

import copy
import gc
import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest
import torch
from hypothesis import settings

# Shapes and dtypes in signatures are checked throughout this process; so this comes before anything imports ppo.
jaxtyping.install_import_hook(
    ["ppo.network", "ppo.loss", "ppo.buffer.data", "ppo.buffer.gae", "ppo.buffer.minibatches", "ppo.update"],
    "beartype.beartype",
)
torch.set_num_threads(1)

from hydra import compose, initialize_config_dir  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from ppo.buffer.data import Batch  # noqa: E402
from ppo.config.options import fit, option  # noqa: E402
from ppo.logging.base import Run  # noqa: E402
from ppo.loss import kl, value  # noqa: E402
from ppo.network.actor_critic import ActorCritic  # noqa: E402
from ppo.network.distributions import Gaussian  # noqa: E402
from ppo.network.flat import Evaluate, build_evaluate, flatten  # noqa: E402
from ppo.update.optim import Learner  # noqa: E402
from ppo.update.total import Knobs, Loss  # noqa: E402

ROOT = Path(__file__).parents[1]


settings.register_profile("long", max_examples=5000)  # --hypothesis-profile=long: fifty times the default


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """After every test no worker process of ours lives on, and no shared block is held."""
    yield
    left = _left_behind()
    if left:  # an environment that nobody closed, kept by a cycle
        gc.collect()
        left = _left_behind()
    assert not left


def _left_behind() -> list[str]:
    if not Path("/proc/self/task").is_dir():
        return []
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    workers = [pid for pid in children if b"envs.worker" in _read(Path("/proc", pid, "cmdline"))]
    blocks = [fd.name for fd in Path("/proc/self/fd").iterdir() if _link(fd).startswith("/memfd:envs")]
    return [f"worker {pid}" for pid in workers] + [f"block {fd}" for fd in blocks]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


@pytest.fixture(scope="session")
def vectors() -> dict:
    """Numbers that formulas are held against, see reference/make_vectors.py."""
    return json.loads((Path(__file__).parent / "reference" / "vectors.json").read_text())


class Problem(NamedTuple):
    """A network, the learner that owns its parameters, and samples that its behaviour policy drew."""

    module: ActorCritic  # an ordinary module with the learner's parameters, for autograd
    evaluate: Evaluate  # of the network whose parameters are views of the learner's
    learner: Learner
    batch: Batch  # [B, ...]


@pytest.fixture
def problem():
    """A factory. ``moved``: how far the parameters have left those of the behaviour policy."""

    def make(samples: int = 64, *, moved: float = 0.0, dtype=torch.float32, seed: int = 0) -> Problem:
        g = torch.Generator().manual_seed(seed)

        def randn(*shape):
            return torch.randn(shape, generator=g, dtype=dtype)

        build = option("network", "mlp", actor=[8], critic=[8], orthogonal=False)
        network = build(3, 2, g).to(dtype)
        obs = randn(samples, 3)
        with torch.no_grad():
            policy, prediction = network(obs)
            action = policy.mean + policy.log_std.exp() * randn(samples, 2)
            behaviour = Gaussian(*(x.clone() for x in policy))
            for p in network.parameters():
                p.add_(moved * randn(*p.shape))
        module = copy.deepcopy(network)
        batch = Batch(
            obs=obs,
            action=action,
            policy=behaviour,
            value=prediction,
            target=prediction + randn(samples),
            advantage=randn(samples),
            group=torch.arange(samples) % 3,
            mask=torch.ones(samples, dtype=torch.bool),
            noise=torch.zeros(samples, 0, dtype=dtype),
        )
        flat = flatten(network)
        return Problem(module, build_evaluate(network), Learner.start(flat), batch)

    return make


@pytest.fixture
def numbers():
    """A factory of knobs: lr 1e-3, clip [0.8, 1.2], no limits, weight 0.5 of the critic's loss and ``coef`` of the terms."""

    def make(dtype=torch.float32, *, coef: dict[str, float] | None = None, **changes: float) -> Knobs:
        inf = float("inf")
        plain = {"lr": 1e-3, "clip_low": 0.8, "clip_high": 1.2, "limit": inf, "max_grad_norm": inf, "value": 0.5}
        tensors = {name: torch.tensor(x, dtype=dtype) for name, x in (plain | changes).items()}
        return Knobs(**tensors, coef={name: torch.tensor(x, dtype=dtype) for name, x in (coef or {}).items()})

    return make


@pytest.fixture
def make_loss():
    """A factory of losses: PPO, exact KL, squared error, no further term."""
    return lambda **changes: Loss(option("objective", "ppo"), kl.exact, value.mse)._replace(**changes)


SMALL = (  # nothing normalised
    "env=probe", "logger=none", "compile=false", "workers=0", "network.actor=[16]", "network.critic=[16]",
    "network.activation=tanh", "num_envs=4", "num_steps=32", "minibatch_size=32", "epochs=2", "total_steps=256",
    "eval.episodes=2", "normalise.obs=false", "normalise.reward=false", "normalise.warmup=false", "norm=global", "lr.value=1e-3",
    "stop=none", "target_kl=null", "lr=constant",
)  # fmt: skip


@cache
def composed(*words: str) -> DictConfig:
    """Once for each set of words: it takes longer than most of what is then tested."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", list(words))


@pytest.fixture(scope="session")
def shipped():
    """A factory of configurations as they are shipped, but for some words."""
    return lambda *words: fit(copy.deepcopy(composed(*words)), words)


@pytest.fixture(scope="session")
def config():
    """A factory of configurations from command-line words; tiny by default, nothing normalised."""
    return lambda *words: fit(copy.deepcopy(composed(*SMALL, *words)), words)


class Finished(NamedTuple):
    """A run that is over."""

    rows: list[dict]  # of metrics.jsonl
    tensors: dict[str, torch.Tensor]  # of the last checkpoint
    folder: Path


def _train(cfg: DictConfig, folder: Path) -> Finished:
    from ppo.run import checkpoint
    from ppo.train import train

    train(cfg, Run(folder, folder.name, {}))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Finished(rows, checkpoint.load(checkpoint.find(folder))[0], folder)


@pytest.fixture
def trained(config, tmp_path):
    """Train by command-line words, in a folder of the test's own; returns (rows of metrics, tensors of the checkpoint)."""
    return lambda *words, name="run": _train(config(*words), tmp_path / name)[:2]


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    """A factory of runs that several tests read and none writes to: each is trained once."""
    return cache(lambda *words: _train(config(*words), tmp_path_factory.mktemp("finished") / "run"))
