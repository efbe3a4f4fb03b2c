"""Whatever the bytes of a file: it is read, or refused in one line that says what is wrong.

``--hypothesis-profile=long`` tries fifty times as many.
"""

import contextlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppo import cli
from ppo.compare.load import CompareError, read_csv, read_run
from ppo.config.foreign import foreign
from ppo.config.options import GROUPS, ConfigError, strategy
from ppo.run import checkpoint


def tries(number: int):
    """By default ``number`` examples, always the same; ``--hypothesis-profile=long``: fifty times as many, new ones."""
    times = settings.default.max_examples // 100
    return settings(
        max_examples=number * times,
        derandomize=times == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


TINY = ("logger=none", "env=probe", "num_envs=2", "num_steps=8", "minibatch_size=8", "total_steps=32", "epochs=1")
TINY += ("compile=false", "workers=0", "network.actor=[4]", "network.critic=[4]", "eval.episodes=1", "eval.every=0")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A checkpoint that a run has written."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    argv, sys.argv = sys.argv, ["ppo-train", *TINY, f"hydra.run.dir={folder}"]
    try:
        with pytest.raises(SystemExit, match="^0$"):
            cli.main()
    finally:
        sys.argv = argv
    return checkpoint.find(folder)


@tries(100)
@given(data=st.data())
def test_a_damaged_checkpoint_is_noticed(saved, tmp_path_factory, data):
    """Cut, bits turned, pieces doubled, moved or made up: never another content, never another error."""
    good = saved.read_bytes()
    place = st.integers(0, len(good))
    start, end = sorted((data.draw(place), data.draw(place)))
    inside = data.draw(st.binary(max_size=20) | place.map(lambda i: good[i : i + 50]))
    path = tmp_path_factory.mktemp("bytes") / "damaged"
    path.write_bytes(good[:start] + inside + good[min(end, start + 50) :])
    with contextlib.suppress(checkpoint.CheckpointError):
        assert path.read_bytes() == good or checkpoint.load(path) is None


numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1])
leaf = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.sampled_from(["${seed}", "auto", "envs.gym.gym"])
tree = st.recursive(
    leaf, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5) | leaf, x, max_size=3)
)


@pytest.mark.slow
@tries(40)
@given(data=st.data())
def test_any_configuration_of_a_checkpoint_is_ours_or_refused(saved, data):
    config = checkpoint.load(saved)[1]["config"]
    node, key = config, data.draw(st.sampled_from(sorted(config)))
    while isinstance(node[key], dict) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node)))
    node[key] = data.draw(tree)
    with contextlib.suppress(ConfigError):
        cfg = foreign(config, [], saved)
        for group in GROUPS:
            strategy(group, cfg[group])


line = st.binary(max_size=30) | tree.map(lambda x: json.dumps(x, default=str, skipkeys=True).encode())
row = st.dictionaries(st.sampled_from(["update", "env_steps", "eval/return", "lr"]), numbers | tree, max_size=4)
lines = st.lists(line | row.map(lambda x: json.dumps(x, skipkeys=True).encode()), max_size=5).map(b"\n".join)


def read_or_refused(read, path: Path):
    try:
        return read(path)
    except CompareError as error:
        message = str(error)
    assert "\n" not in message
    return []


@pytest.mark.slow
@tries(200)
@given(content=lines, run=st.sampled_from(["metrics.jsonl", "config.yaml", "run.json"]))
@example(b"7\n", "metrics.jsonl")
@example(b'{"update": "a"}\n{"update": 1}\n', "metrics.jsonl")
@example(b'{"env_steps": 1, "eval/return": "much"}\n', "metrics.jsonl")
@example(b"[" * 100_000 + b"\n", "metrics.jsonl")
@example(b'{"git": 7}', "run.json")
@example(b"!!python/object/apply:os.system [exit]", "config.yaml")
def test_any_run_folder_is_read_or_refused_in_one_line(tmp_path_factory, content, run):
    folder = tmp_path_factory.mktemp("folder")
    (folder / "config.yaml").write_text("{seed: 1, env: {_target_: envs.gym.gym, id: a}}")
    (folder / run).write_bytes(content)
    read_or_refused(read_run, folder)


cell = numbers.map(str) | st.text(max_size=6) | st.sampled_from(["", "a", "7", "1e400", "\x00", '"', "nan"])
table = st.lists(st.lists(cell, min_size=5, max_size=5).map(",".join), max_size=6).map("\n".join)


@tries(200)
@given(
    content=table.map(lambda x: ("env,arm,seed,step,return\n" + x).encode(errors="replace")) | st.binary(max_size=99)
)
def test_any_csv_is_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("csv") / "runs.csv"
    path.write_bytes(content)
    assert all(trial.failed or trial.curves["return"][0].size for trial in read_or_refused(read_csv, path))
