"""What a run is worth is one number, whoever asks: the trainer, a sweep, a comparison."""

import pytest

from ppo.compare.endpoints import worth
from ppo.compare.load import read_run
from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.run.folder import config_of, endpoint, fresh
from ppo.train import train


def test_what_training_returns_is_the_endpoint_of_a_comparison(config, tmp_path):
    words = ["env.task=target", "num_steps=8", "epochs=1", "total_steps=640", "eval.every=32", "lr.value=1e-2"]
    cfg = config(*words)
    value = train(cfg, Run(tmp_path, "run", {}))
    returns = [row["eval/return"] for row in read(tmp_path / "metrics.jsonl")]
    assert len(returns) == 20
    assert value == pytest.approx(sum(returns[-2:]) / 2)
    assert value not in (returns[-1], max(returns))
    assert value == endpoint(tmp_path) == worth(read_run(tmp_path), "eval/final")


def test_a_run_without_an_evaluation_is_worth_its_returns_in_training_and_without_these_nothing_known(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"update": 1}\n')
    assert str(endpoint(tmp_path)) == "nan"
    rows = [f'{{"update": {n}, "train/return": {n}}}\n' for n in range(2, 22)]
    (tmp_path / "metrics.jsonl").write_text("".join(['{"update": 1}\n', *rows]))
    assert endpoint(tmp_path) == 20.5  # of the last two of twenty
    (tmp_path / "metrics.jsonl").write_text("".join([*rows, '{"update": 22, "eval/return": 7}\n']))
    assert endpoint(tmp_path) == 7


def test_two_that_ask_for_one_folder_get_two(tmp_path):
    asked = tmp_path / "day" / "12-00-00-seed1"
    assert [fresh(asked).name for _ in range(3)] == ["12-00-00-seed1", "12-00-00-seed1-2", "12-00-00-seed1-3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n  : [\n", "config.yaml is damaged"),
        ("- 1\n", "config.yaml is damaged"),
        ("a: \x00\n", "config.yaml is damaged"),
        ("logger: {project: '${oc.env:SECRET}'}\n", "logger.project: an interpolation, which no run writes"),
    ],
)
def test_a_configuration_that_no_run_wrote_is_one_line_and_reads_nothing(tmp_path, monkeypatch, text, said):
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value) and "hunter2" not in str(caught.value)
