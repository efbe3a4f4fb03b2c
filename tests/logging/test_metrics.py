"""The metric contract: what is declared, what is refused, and the page generated from it."""

from pathlib import Path

import pytest

from ppo.logging.band import band
from ppo.logging.metrics import METRICS, check, declared, document, table


def test_a_dimension_stands_for_one_metric_each():
    assert declared("kl/mean_part/0") and declared("kl/sigma_part/17") and declared("policy/sigma/3")
    for name in ("kl/mean_part/<d>", "kl/mean_part/", "kl/mean_part/x", "kl/mean_part/01", "kl/exact/0", "lr/1", "kl"):
        assert not declared(name), name


def test_an_undeclared_name_is_refused_and_the_nearest_one_shown():
    check(["kl/exact", "policy/sigma/2"])
    with pytest.raises(ValueError, match=r"'kl/exakt' is not declared.*did you mean 'kl/exact'\?$"):
        check(["update", "kl/exakt"])


def test_the_page_is_generated():
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == document(), "run python -m ppo.logging.metrics"


def test_the_table_is_well_formed():
    lines = table().splitlines()
    assert len(lines) == len(METRICS) + 2
    for line in lines:
        assert line.replace("\\|", "").count("|") == 5, line


@pytest.mark.parametrize(
    ("kl", "name"),
    [
        (0.0, "healthy"),
        (0.01, "healthy"),
        (0.011, "fine"),
        (0.02, "fine"),
        (0.021, "warning"),
        (0.03, "warning"),
        (0.031, "problem"),
        (0.05, "problem"),
        (0.051, "critical"),
        (float("inf"), "critical"),
        (float("nan"), "critical"),  # every comparison with nan is false: it must not end up healthy
    ],
)
def test_bands(kl, name):
    assert band(kl).name == name


def test_bands_can_be_moved():
    assert band(0.04, healthy=0.1).name == "healthy"
    assert band(0.04, problem=0.03).name == "critical"
