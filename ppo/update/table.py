"""The metrics of an update's steps: a row each, read by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]  # from the numbers of the steps taken to the update's
MEAN, LOWEST, HIGHEST, COUNTED = Tensor.mean, Tensor.min, Tensor.max, Tensor.sum


@dataclass(frozen=True)
class Table:
    """``table["kl/exact"]`` is that metric of every step."""

    names: tuple[str, ...]
    rows: Float[Tensor, "steps metrics"]

    @staticmethod
    def of(names: tuple[str, ...], rows: int, like: Tensor) -> "Table":
        """An empty one, to be filled row by row.

        One block, not a tensor kept of each step: thousands of small ones between the large ones that come and go would
        let the heap grow to several times what is in use.
        """
        return Table(names, like.new_empty(rows, len(names)))

    def __getitem__(self, name: str) -> Float[Tensor, " steps"]:
        return self.rows[:, self.names.index(name)]

    def mean(self, name: str) -> Float[Tensor, ""]:
        """Over the steps that had a sample: of a minibatch that is masked as a whole nothing is known."""
        known = self["samples"] > 0
        return torch.where(known, self[name], 0).sum() / known.sum().clamp(min=1)

    def part(self, rows: slice | Tensor) -> "Table":
        """Some of the steps."""
        return replace(self, rows=self.rows[rows])

    def row(self, step: int) -> dict[str, float]:
        """All metrics of one step."""
        return dict(zip(self.names, self.rows[step].tolist(), strict=True))

    def cpu(self) -> "Table":
        """Read back from the device."""
        return replace(self, rows=self.rows.cpu())
