"""Metrics of steps: read by name, in part, and one step at a time."""

import pytest
import torch

from ppo.update.table import Table


def test_a_metric_is_read_by_its_name_of_every_step():
    table = Table(("taken", "loss"), torch.tensor([[1.0, 0.5], [1.0, 0.25], [0.0, 8.0]]))
    assert table["loss"].tolist() == [0.5, 0.25, 8.0] and table["taken"].tolist() == [1, 1, 0]
    assert table.row(2) == {"taken": 0.0, "loss": 8.0}
    with pytest.raises(ValueError):
        table["gain"]


def test_a_part_keeps_the_names():
    table = Table(("taken", "loss"), torch.tensor([[1.0, 0.5], [1.0, 0.25], [0.0, 8.0]]))
    assert table.part(slice(1, 3)).row(0) == {"taken": 1.0, "loss": 0.25}
    assert table.part(table["taken"] > 0)["loss"].tolist() == [0.5, 0.25]


def test_an_empty_table_has_a_row_for_every_step_and_is_filled_in_place():
    table = Table.of(("taken", "loss"), 3, torch.zeros(5, dtype=torch.float64))
    assert table.rows.shape == (3, 2) and table.rows.dtype == torch.float64
    table.rows[1].copy_(torch.tensor([1.0, 0.5]))
    assert table.part(slice(1, 2)).cpu()["loss"].tolist() == [0.5]
