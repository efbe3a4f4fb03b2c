"""Where would another limit, estimator or rule have ended the updates? From the path of the KL that a run has logged.

What an update does before it is stopped does not depend on the limit: its order of samples is drawn before its first
step. So for the first update the answer is that of a new run. For a later one it is that of the same update from the
same policy, which a new run would not have had.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from ppo.config.options import suggest
from ppo.doctor.history import DoctorError, History

RULES = ("minibatch", "epoch", "rollback")
KEYS = ("target_kl", "kl", "stop", "stop.factor")


class Limit(NamedTuple):
    """A stop rule with its numbers."""

    stop: str
    kl: str
    target_kl: float
    factor: float

    @property
    def value(self) -> float:
        """What must not be exceeded [nat]."""
        return self.factor * self.target_kl


class Answer(NamedTuple):
    """What the limit would have done to one update. Epoch and minibatch count from 1."""

    stopped: bool | None  # None: the run's own rule ended the update before this one could be asked
    epoch: int = 0
    minibatch: int = 0
    value: float = math.nan  # the KL that is too large
    steps: int = 0  # gradient steps kept


def would_stop(row: dict, limit: Limit, per_epoch: int) -> Answer:
    """Of one row of metrics. ``stop=rollback`` measures the whole rollout, which a run of another rule did not do: there
    the first minibatch of the next epoch stands in for it, and kl/final for the last."""
    taken, planned = int(row["update/steps"]), int(row["update/planned"])
    if limit.stop == "minibatch":
        for step, value in row.get(f"trace/{limit.kl}", ()):
            if _above(value, limit.value):
                epoch, minibatch = divmod(step - 1, per_epoch)
                return Answer(True, epoch + 1, minibatch + 1, value, step - 1)
        return Answer(False, steps=taken) if taken == planned else Answer(None)
    if limit.stop == "epoch":
        values = row.get(f"trace/epoch/{limit.kl}", ())
    elif "trace/after" in row:
        values = row["trace/after"]
    else:
        values = [*row.get("trace/first", ())[1:], *([row["kl/final"]] if taken % per_epoch == 0 else ())]
    for epoch, value in enumerate(values, start=1):
        if _above(value, limit.value):
            return Answer(True, epoch, per_epoch, value, (epoch - (limit.stop == "rollback")) * per_epoch)
    return Answer(False, steps=taken) if taken == planned else Answer(None)


def _above(value: float, limit: float) -> bool:
    """As the step compares them, in float32; NaN is above."""
    return not np.float32(value) <= np.float32(limit)


def exact(history: History, limit: Limit) -> bool:
    """Whether the answers are those of the numbers the rule would have read, not of a stand-in."""
    return limit.stop != "rollback" or "trace/after" in history.rows[0]


def parse(words: list[str], history: History) -> list[Limit]:
    """["target_kl=0.01,0.02", "kl=k3"] -> every combination; what is not named is as in the run. Raises DoctorError."""
    if "trace/first" not in history.rows[0]:
        raise DoctorError("--what-if: the run logged no path of its KL (trace/...); it is of an older version")
    own, estimator = history.chosen("stop"), history.chosen("kl")
    lists: dict[str, list[str]] = {
        "target_kl": [str(history.option("target_kl", ""))],
        "kl": [estimator if estimator in history.estimators else "exact"],
        "stop": [own if own in RULES else "minibatch"],
        "stop.factor": [str(history.option("stop.factor", 1.5))],
    }
    for word in words:
        key, equal, values = word.partition("=")
        if key not in KEYS or not equal:
            raise DoctorError(f"--what-if {word}: expected KEY=VALUE[,VALUE...]{suggest(key, KEYS)}")
        lists[key] = [value.strip() for value in values.split(",")]
    for key, known in (("kl", history.estimators), ("stop", RULES)):
        for value in lists[key]:
            if value not in known:
                raise DoctorError(f"--what-if {key}={value}: no such option{suggest(value, known)}")
    if lists["target_kl"] == [""]:
        raise DoctorError("--what-if: the run has no target_kl; name one, for example target_kl=0.01,0.02")
    limits = []
    for stop, kl, target, factor in itertools.product(
        *(lists[key] for key in ("stop", "kl", "target_kl", "stop.factor"))
    ):
        try:
            limit = Limit(stop, "exact" if stop == "rollback" else kl, float(target), float(factor))
        except ValueError as error:
            raise DoctorError(f"--what-if target_kl={target} stop.factor={factor}: {error}") from None
        if not 0 < limit.value < math.inf:
            raise DoctorError(f"--what-if target_kl={target} stop.factor={factor}: must be positive numbers")
        limits.append(limit)
    return list(dict.fromkeys(limits))


def answers(history: History, limit: Limit) -> list[Answer]:
    """One for each update."""
    return [would_stop(row, limit, history.per_epoch) for row in history.rows]
