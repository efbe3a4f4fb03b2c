"""When an update ends early. Each option is one function ``(target_kl) -> Limits``.

An update asks at three places whether it may continue, and each limit belongs to one of them; an infinite limit never
stops. ``factor`` is the slack on ``target_kl`` that the field applies and seldom shows: the real limit is
``factor * target_kl``.
"""

import math
from typing import Annotated, NamedTuple

from annotated_types import Gt


class Limits(NamedTuple):
    """Where an update ends. ``name`` is what its metrics and its line on the console call this rule."""

    name: str
    step: float = math.inf  # of ``metric`` on a minibatch, before its step: that step is refused
    metric: str = "kl/stop"  # any of a step's metrics; kl/stop is the estimator of kl= [nats]
    epoch: float = math.inf  # of that estimator's mean over the minibatches of an epoch, after the epoch
    batch: float = math.inf  # of the exact KL on the whole batch after an epoch; beyond it, the epoch is undone

    @property
    def kl(self) -> float:
        """The KL that an update is held to, wherever it is looked at [nats]."""
        return min(self.epoch, self.batch, self.step if self.metric.startswith("kl/") else math.inf)


def none(target_kl: float | None) -> Limits:
    """Every epoch is done, whatever the KL."""
    return Limits("none")


def minibatch(target_kl: float, *, factor: Annotated[float, Gt(0)]) -> Limits:
    """Before each step: refuse it, and end the update, where the minibatch's KL is above factor * target_kl."""
    return Limits("minibatch", step=factor * target_kl)


def epoch(target_kl: float, *, factor: Annotated[float, Gt(0)]) -> Limits:
    """After each epoch: end the update where the mean KL of its minibatches was above factor * target_kl."""
    return Limits("epoch", epoch=factor * target_kl)


def rollback(target_kl: float, *, factor: Annotated[float, Gt(0)]) -> Limits:
    """After each epoch: where the whole batch's exact KL is above factor * target_kl, put parameters and optimiser back
    to where they were before the epoch, and end the update; an epoch with a number that is not finite likewise. What an
    update ends with is then never above the limit."""
    return Limits("rollback", batch=factor * target_kl)


def ratio(target_kl: float | None, *, limit: Annotated[float, Gt(0)]) -> Limits:
    """Before each step: refuse it, and end the update, where the mean |ratio - 1| of the minibatch is above ``limit``.

    Made to be used without a clip (``clip=none``). ESPO, Sun et al. 2022.
    """
    return Limits("ratio", step=limit, metric="ratio/deviation")
