"""Runs that were never trained: folders, trials and CSV files with the numbers a test wants."""

import copy
import csv
import json
import math
from pathlib import Path

import pytest
import yaml

from ppo.compare.table import COLUMNS
from ppo.compare.trial import Trial, logged

CONFIG = {
    "total_steps": 4000,
    "target_kl": None,
    "seed": 1,
    "env": {"_target_": "envs.gym.gym", "id": "Toy-v0"},
    "kl": {"_target_": "ppo.loss.kl.exact"},
    "norm": {"_target_": "ppo.loss.norm.none"},
    "clip": {"_target_": "ppo.control.clip.fixed", "eps": 0.2},
    "lr": {"_target_": "ppo.control.lr.constant", "value": 1e-3},
    "logger": {"_target_": "ppo.logging.none.none"},
}
COMMAND = "python -m ppo.train -m kl=exact,k1 seed=1,2,3,4,5 hydra.sweep.dir=outputs/ab"


def configured(changes: dict) -> dict:
    """CONFIG with dotted keys changed; ``kl="k1"`` chooses an option."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        *path, last = key.split(".")
        node = config
        for part in path:
            node = node[part]
        if isinstance(node.get(last), dict):
            node[last]["_target_"] = node[last]["_target_"].rsplit(".", 1)[0] + f".{value}"
        else:
            node[last] = value
    return config


@pytest.fixture
def run_folder(tmp_path):
    """A factory: a run folder whose evaluations are ``returns``, at 1000, 2000 ... steps. Training return: 100 lower."""

    def make(
        returns, *, name=None, status="finished", commit="c0ffee", versions=None, own=None, rows=None, **changes
    ) -> Path:
        config = configured(changes)
        parts = [f"{key}={value}" for key, value in changes.items()]
        folder = tmp_path / "runs" / (name or ",".join(parts) or "run")
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        about = {"status": status, "reason": None, "git": {"commit": commit, "dirty": False}, "python": "3.11.7"}
        about |= {"versions": {"torch": "2.13.0"} | (versions or {}), "command": COMMAND}
        about |= {} if own is None else {"own": own}
        (folder / "run.json").write_text(json.dumps(about))
        with (folder / "metrics.jsonl").open("w") as file:
            for i, value in enumerate(returns, start=1):
                row = {"update": i, "env_steps": 1000 * i, "time/wall": 2.0 * i}
                row |= {"eval/return": value, "train/return": value - 100, "kl/final": 0.01, "clip/fraction": 0.1}
                row |= {"policy/entropy": 1.0, "update/epochs": 4.0, "update/stop": "none", "guard/nonfinite": 0.0}
                row |= {"loss/policy": 0.1 * i, "loss/value": 2.0} | (rows or {})
                file.write(json.dumps(row) + "\n")
        return folder

    return make


@pytest.fixture
def trial():
    """A factory: a run of a table, its curve ``returns`` at 1, 2, 3 ..."""

    def make(arm: str, seed: int, *returns: float, env: str = "toy", failed: str | None = None) -> Trial:
        curve, reason, notes = logged(list(enumerate(map(float, returns), start=1)))
        curves = {} if curve is None else {"return": curve}
        return Trial(env, seed, arm, failed or reason, curves, [], None, {}, None, Path("x"), notes)

    return make


@pytest.fixture
def quick(monkeypatch):
    """Without what is slow and decides nothing: resampling and shuffling."""
    monkeypatch.setattr("ppo.compare.stats.bootstrap", lambda *_, **__: (math.nan, math.nan))
    monkeypatch.setattr("ppo.compare.stats.permutation", lambda *_, **__: math.nan)


@pytest.fixture
def table(tmp_path):
    """A factory: a CSV file of rows (env, arm, seed, step, return)."""

    def make(rows, *, header=COLUMNS, name="foreign.csv") -> Path:
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / name

    return make
