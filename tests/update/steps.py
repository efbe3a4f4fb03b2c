"""What the tests of an update share: a step that is watched, and rows read by name."""

from typing import NamedTuple

import torch
from torch import Tensor

from ppo.update.optim import Learner
from ppo.update.step import Step
from ppo.update.table import Table


class Turn(NamedTuple):
    """What a step gave back."""

    learner: Learner
    metrics: dict[str, float]


def read(step: Step, row: Tensor) -> dict[str, float]:
    """The metrics of one step by name."""
    return Table(tuple(step.reduce), row[None]).row(0)


def turn(step: Step, *inputs) -> Turn:
    """One step."""
    learner, row = step(*inputs)
    return Turn(learner, read(step, row))


def watched(step: Step) -> tuple[Step, list[Turn]]:
    """The step, and a list to which each of its turns is appended."""
    turns: list[Turn] = []

    def take(*inputs):
        learner, row = step.take(*inputs)
        turns.append(Turn(learner, read(step, row)))
        return learner, row

    return step._replace(take=take), turns


def same(a: Learner, b: Learner) -> bool:
    """Every tensor of two learners bitwise the same, but for the verdict."""
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
