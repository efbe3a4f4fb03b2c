"""A run as the doctor reads it: its rows of ``metrics.jsonl`` as columns, beside the configuration it ran with."""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ppo.config.foreign import current
from ppo.config.options import ConfigError
from ppo.logging import jsonl
from ppo.run.folder import run_json

_NUMBERS = ("update", "kl/final", "update/steps", "update/planned")  # what every row of a run holds


class DoctorError(ConfigError):
    """What was given cannot be examined. One line: what, and what would help."""


class History:
    """Rows and configuration of a run. ``history["kl/final"]`` is a column: float64 [n], NaN where a row lacks it."""

    def __init__(self, rows: list[dict], config: dict[str, Any], resumed: Sequence[int] = ()):
        self.rows, self.config = rows, config
        self.resumed = resumed  # the updates after which the run was resumed
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._columns:
            self._columns[name] = np.array([row.get(name, math.nan) for row in self.rows], dtype=float)
        return self._columns[name]

    def texts(self, name: str) -> np.ndarray:
        """A column of texts, empty where a row lacks it."""
        return np.array([row.get(name, "") for row in self.rows])

    def where(self, index: int) -> int:
        """The number of the update in row ``index``."""
        return int(self.rows[index].get("update", index + 1))

    def option(self, key: str, default: Any = None) -> Any:
        """The configuration's value at a dotted key; ``default`` where it names none or null."""
        value = lookup(self.config, key)
        return default if value is None else value

    def chosen(self, group: str) -> str:
        """The option of a group: "exact" for kl=exact."""
        return str(self.option(f"{group}._target_", "")).rsplit(".", 1)[-1]

    def limit(self) -> float:
        """The KL that the run's own stop rule allows, or TRPO's step; infinite where neither is there."""
        if self.chosen("objective") == "trpo":
            return self.option("target_kl", math.inf)
        if self.chosen("stop") not in ("minibatch", "epoch", "rollback") or not self.option("target_kl"):
            return math.inf
        return self.option("stop.factor", 1.5) * self.option("target_kl")

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 where its length is not known."""
        steps = float(self["env_steps"][-1]) if len(self) else math.nan
        return steps / self.option("total_steps", steps) if steps > 0 else 1.0

    @property
    def samples(self) -> int:
        """Steps in a rollout."""
        return self.option("num_envs", 1) * self.option("num_steps", 1)

    @property
    def kl(self) -> np.ndarray:
        """KL(old‖new) that each update ended with."""
        return self["kl/final"]

    @cached_property
    def stopped(self) -> np.ndarray:
        """[n] bool: a stop rule ended the update."""
        return np.isin(self.texts("update/stop"), ("minibatch", "epoch", "rollback", "ratio"))

    @cached_property
    def reached(self) -> np.ndarray:
        """As ``kl``; of an update that stop=rollback undid as a whole, the KL that made it do so."""
        whole = (self.texts("update/stop") == "rollback") & (self["update/steps"] == 0)
        return np.where(whole, self["stop/value"], self.kl)

    @cached_property
    def largest_advantage(self) -> np.ndarray:
        """[n] in standard deviations of the rollout's; NaN where they do not spread."""
        deviation = self["advantage/std"]
        return self["advantage/max_abs"] / np.where(deviation > 0, deviation, np.nan)

    @cached_property
    def estimators(self) -> list[str]:
        """The estimators of the KL whose path was logged, in the order of the rows."""
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith("trace/epoch/"))
        return [name.removeprefix("trace/epoch/") for name in names]

    @cached_property
    def sampled(self) -> list[str]:
        """Those of the estimators that are measured on the actions taken: their error is logged."""
        return [name for name in self.estimators if any(f"kl/error_{name}" in row for row in self.rows)]

    @cached_property
    def done(self) -> np.ndarray:
        """Share of its gradient steps that each update took."""
        return self["update/steps"] / self["update/planned"]

    @cached_property
    def per_epoch(self) -> int:
        """Minibatches of an epoch."""
        return max(1, round(self["update/planned"][-1] / self.option("epochs", 1)))

    @cached_property
    def returns(self) -> np.ndarray:
        """Training return, smoothed by a running median of five and carried over updates in which no episode ended."""
        raw = self["train/return"].copy()
        known = np.isfinite(raw)
        if not known.any():
            return raw
        last = np.maximum.accumulate(np.where(known, np.arange(len(raw)), np.flatnonzero(known)[0]))
        raw = raw[last]
        return np.array([np.median(raw[max(0, i - 2) : i + 3]) for i in range(len(raw))])

    @cached_property
    def rise(self) -> float:
        """Change of the return from the first fifth to the last, as a share of the range it covered; NaN: not known."""
        values, part = self.returns, max(1, len(self) // 5)
        width = np.ptp(values) if np.isfinite(values).all() and len(values) else math.nan
        return float((np.median(values[-part:]) - np.median(values[:part])) / width) if width > 0 else math.nan

    def dimensions(self, name: str) -> np.ndarray:
        """[A, n]: the metrics ``name/0``, ``name/1`` ...; A = 0 where they are not logged."""
        pattern = re.compile(re.escape(name) + r"/(\d+)$")
        found = sorted(int(m[1]) for key in (self.rows[-1] if self.rows else ()) if (m := pattern.match(key)))
        return np.array([self[f"{name}/{d}"] for d in found]).reshape(len(found), len(self))


def lookup(config: dict[str, Any], key: str) -> Any:
    """The value of a configuration at a dotted key; None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def tail(column: np.ndarray, *, share: float = 1 / 3, least: int = 3) -> np.ndarray:
    """The known values among the last third, three at least."""
    last = column[-max(least, math.ceil(share * len(column))) :]
    return last[~np.isnan(last)]


def middle(column: np.ndarray) -> float:
    """The median of what is known; NaN of nothing."""
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else math.nan


def load(run: Path) -> History:
    """A run folder (or its metrics.jsonl). Raises DoctorError."""
    folder = run.parent if run.name == "metrics.jsonl" else run
    if not (folder / "metrics.jsonl").is_file():
        raise DoctorError(f"{run}: no metrics.jsonl there; give the folder of a run")
    try:
        rows = jsonl.read(folder / "metrics.jsonl")
        path = folder / "config.yaml"
        config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path.is_file() else {}
    except (ValueError, OSError, YAMLError, OmegaConfBaseException) as error:
        raise DoctorError(f"{folder}: {' '.join(str(error).split())}") from None
    if not rows or not all("update" in row and "kl/final" in row for row in rows):
        failed = ending(folder)
        raise DoctorError(f"{folder}: metrics.jsonl holds no update{f'; the run failed: {failed}' if failed else ''}")
    for number, row in enumerate(rows, start=1):
        for name in _NUMBERS:
            if not isinstance(row.get(name), int | float):
                raise DoctorError(f"{folder}: metrics.jsonl, row {number}: {name} is no number; the file is damaged")
    if not all(row["update/planned"] > 0 for row in rows):
        raise DoctorError(f"{folder}: metrics.jsonl: update/planned is not above 0; the file is damaged")
    return History(rows, current(config) if isinstance(config, dict) and config else {}, _resumed(folder))


def _resumed(folder: Path) -> list[int]:
    """The updates after which the run was resumed. Raises DoctorError where ``run.json`` has no such list."""
    found = run_json(folder).get("resumed") or []
    try:
        return [int(earlier["update"]) for earlier in found]
    except (TypeError, ValueError, KeyError):
        raise DoctorError(
            f"{folder}: run.json: resumed is no list of {{update: number}}; the file is damaged"
        ) from None


def ending(run: Path) -> str | None:
    """Why the run failed, as ``run.json`` says; None where it did not."""
    said = run_json(run)
    return said.get("reason") if said.get("status") == "failed" else None
