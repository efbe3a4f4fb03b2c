"""The metric contract: what is declared, what is refused, and the page generated from it."""

from pathlib import Path

import pytest

from ppo.logging.band import band
from ppo.logging.metrics import METRICS, check, declared, document, estimators, table


def test_a_dimension_stands_for_one_metric_each():
    assert declared("kl/mean_part/0") and declared("kl/sigma_part/17") and declared("policy/sigma/3")
    for name in ("kl/mean_part/<d>", "kl/mean_part/", "kl/mean_part/x", "kl/mean_part/01", "kl/exact/0", "lr/1", "kl"):
        assert not declared(name), name


def test_an_estimator_is_known_by_its_yaml(tmp_path, monkeypatch):
    """One more file in conf/kl, and its metrics are declared and described."""
    for name in ("kl/k3", "kl/error_k3", "trace/exact", "trace/epoch/k1_clamped"):
        assert declared(name), name
    for name in (
        "kl/<kl>",
        "kl/renyi",
        "kl/error_renyi",
        "trace/renyi",
        "trace/epoch/renyi",
        "kl/error_",
        "reference/k3",
    ):
        assert not declared(name), name
    (tmp_path / "exact.yaml").write_text("# Closed form.\n")
    (tmp_path / "renyi.yaml").write_text("# Of order two.\n_target_: ppo.loss.kl.renyi\n")
    monkeypatch.setattr("ppo.logging.metrics._CONF", tmp_path)
    estimators.cache_clear()
    try:
        assert all(declared(f"{before}renyi") for before in ("kl/", "kl/error_", "trace/", "trace/epoch/"))
        assert "- `renyi`: Of order two." in document() and not declared("kl/k3")
    finally:
        estimators.cache_clear()


def test_an_estimator_of_another_package_is_known_by_its_path():
    check(["kl/mine", "trace/mine", "trace/epoch/mine", "kl/error_mine"])
    with pytest.raises(ValueError, match="'kl/mine'"):
        check(["kl/mine", "trace/mine"])


def test_no_estimator_has_the_name_of_another_metric():
    literal = {name for name in METRICS if "<" not in name}
    for kl in estimators():
        assert not literal & {f"kl/{kl}", f"kl/error_{kl}", f"trace/{kl}", f"trace/epoch/{kl}"}


def test_a_further_term_of_the_loss_is_known_by_its_pair():
    check(["loss/total", "loss/smooth", "coef/smooth"])
    check(["coef/smooth"])  # no step was executed
    for alone in (["loss/total", "loss/smooth"], ["loss/total", "coef/smooth"], ["loss/total", "loss/entrpy"]):
        with pytest.raises(ValueError, match="not declared"):
            check(alone)


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


@pytest.mark.parametrize(
    "words",
    [
        ("action=tanh", "env.task=target"),
        ("objective=trpo", "target_kl=0.01", "coef.entropy=0.1", "penalty=fixed", "reference=initial"),
        ("env=gym", "env.id=Acrobot-v1", "network=categorical", "stop=rollback", "target_kl=0.01"),
    ],
    ids=" ".join,
)
def test_what_is_said_to_be_there_always_is_in_every_row(finished, words):
    always = {name for name, metric in METRICS.items() if metric.when == "always" and not name.startswith("trace/")}
    for row in finished(*words, "eval.episodes=0").rows:
        assert always - set(row) == set()
        unless_trpo = {name for name, metric in METRICS.items() if "objective= is not trpo" in metric.when}
        assert unless_trpo and (words[0] != "objective=trpo" or not unless_trpo & set(row))
