"""Runs that were never trained: columns of metrics as a healthy run has them, for a test to bend."""

import numpy as np
import pytest

from ppo.doctor.history import History

CONFIG = {
    "total_steps": 30_720,
    "num_envs": 4,
    "num_steps": 256,
    "epochs": 10,
    "gamma": 0.99,
    "target_kl": None,
    "max_grad_norm": 0.5,
    "coef": {"value": 0.5, "entropy": 0.0},
    "normalise": {"obs": True, "reward": True, "clip_obs": 10.0, "clip_reward": 10.0},
    "kl": {"_target_": "ppo.loss.kl.exact"},
    "stop": {"_target_": "ppo.control.stop.none"},
    "clip": {"_target_": "ppo.control.clip.fixed", "eps": 0.2},
    "norm": {"_target_": "ppo.loss.norm.minibatch"},
    "lr": {"_target_": "ppo.control.lr.constant", "value": 3e-4},
    "value": {"_target_": "ppo.loss.value.mse"},
    "network": {"log_std_min": -10.0, "log_std_max": 2.0},
    "env": {"_target_": "envs.gym.gym", "id": "Toy-v0"},
}
N = 30


def healthy() -> dict[str, np.ndarray]:
    """Thirty updates: the KL near 0.008, the return rising, the critic good, sigma falling a little."""
    rng, t = np.random.default_rng(0), np.arange(N)
    columns = {
        "update": t + 1,
        "env_steps": 1024 * (t + 1),
        "kl/final": 0.008 + 0.002 * rng.random(N),
        "kl/exact": np.full(N, 0.005),
        "kl/mean_part": np.full(N, 0.006),
        "kl/sigma_part": np.full(N, 0.002),
        "train/return": -100 + 3.0 * t + rng.normal(size=N),
        "train/length": np.full(N, 200.0),
        "value/explained_variance": np.minimum(0.9, 0.2 * t),
        "loss/value": np.full(N, 0.05),
        "target/mean": np.full(N, 1.0),
        "target/std": np.full(N, 0.5),
        "clip/fraction": np.full(N, 0.15),
        "clip/low": np.full(N, 0.8),
        "clip/high": np.full(N, 1.2),
        "policy/sigma": 0.5 - 0.005 * t,
        "policy/sigma_min": 0.48 - 0.005 * t,
        "policy/sigma_max": 0.52 - 0.005 * t,
        "policy/entropy": np.full(N, 1.0),
        "advantage/std": np.full(N, 0.1),
        "advantage/max_abs": np.full(N, 0.7),
        "grad/norm": np.full(N, 1.0),
        "lr": np.full(N, 3e-4),
        "guard/nonfinite": np.zeros(N),
        "check/first_log_ratio": np.zeros(N),
        "check/acting": np.full(N, 1e-7),
        "obs/clipped": np.zeros(N),
        "obs/rounded": np.zeros(N),
        "action/clipped": np.full(N, 0.02),
        "reward/clipped": np.zeros(N),
        "advantage/zeroed": np.zeros(N),
        "value/beyond": np.zeros(N),
        "value/mean": np.full(N, 1.0),
        "reward/scale": np.full(N, 10.0),
        "update/steps": np.full(N, 160),
        "update/planned": np.full(N, 160),
    }
    for d in range(4):
        columns[f"kl/mean_part/{d}"], columns[f"kl/sigma_part/{d}"] = np.full(N, 0.0015), np.full(N, 0.0005)
        columns[f"policy/sigma/{d}"] = columns["policy/sigma"]
    return columns


@pytest.fixture
def history():
    """A factory: the healthy run with other columns and dotted options: ``history({"kl/final": x}, **{"lr.value": 1})``."""

    def make(columns=None, ended="none", **options) -> History:
        merged = healthy() | {name: np.broadcast_to(x, N) for name, x in (columns or {}).items()}
        rows = [{name: column[i].item() for name, column in merged.items()} | {"update/stop": ended} for i in range(N)]
        for row in rows:
            for kl in ("exact", "k1", "k3"):
                row[f"trace/epoch/{kl}"] = [0.3 * row["kl/final"], row["kl/final"]]
            row["trace/first"] = [0.0, 0.3 * row["kl/final"]]
            row |= {"kl/error_k1": 0.01, "kl/error_k3": 0.001}
        config = {k: dict(v) if isinstance(v, dict) else v for k, v in CONFIG.items()}
        for key, value in options.items():
            group, _, name = key.partition(".")
            if name:
                config[group][name] = value
            else:
                config[group] = value
        return History(rows, config)

    return make
