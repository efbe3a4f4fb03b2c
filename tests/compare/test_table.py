"""Tables of other programs: read, or refused with what to rename."""

import pytest

from ppo.compare.load import load
from ppo.compare.table import read_csv
from ppo.compare.trial import CompareError

ROWS = [("Ant-v5", arm, seed, step, 100.5 * step + seed) for arm in "ab" for seed in (0, 1) for step in (1000, 2000)]
HEAD = "env,arm,seed,step,return"


def text(rows=ROWS, head=HEAD, separator=",") -> str:
    return "\n".join([head, *(separator.join(map(str, row)) for row in rows)]) + "\n"


VARIANTS = {
    "plain": text(),
    "bom": "\ufeff" + text(),
    "windows": text().replace("\n", "\r\n"),
    "capitals": text(head=" Env,ARM,Seed,Step,Return"),
    "tabs": text(separator="\t", head=HEAD.replace(",", "\t")),
    "semicolons": text([(*r[:4], str(r[4]).replace(".", ",")) for r in ROWS], HEAD.replace(",", ";"), ";"),
    "semicolons and points": text(head=HEAD.replace(",", ";"), separator=";"),
    "numbers of pandas": text([(e, a, float(s), float(t), v) for e, a, s, t, v in ROWS]),
    "an index": text([(i, *row) for i, row in enumerate(ROWS)], "," + HEAD),
    "other columns": text([(*row, "x", "") for row in ROWS], HEAD + ",note,KL"),
    "blank lines": text().replace("\n", "\n\n") + ",,,,\n",
    "quoted": text([tuple(f'"{x}"' for x in row) for row in ROWS]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_to_write_the_same_table_is_read_alike(tmp_path, variant):
    (path := tmp_path / "t.csv").write_bytes(VARIANTS[variant].encode())
    runs = read_csv(path)
    assert [(run.env, run.arm, run.seed) for run in runs] == [("Ant-v5", arm, seed) for arm in "ab" for seed in (0, 1)]
    steps, values = runs[1].curves["return"]
    assert steps.tolist() == [1000.0, 2000.0] and values.tolist() == [100_501.0, 201_001.0]


def test_utf_16_as_some_spreadsheets_write_it(tmp_path):
    (path := tmp_path / "t.csv").write_text(VARIANTS["tabs"], encoding="utf-16")
    assert len(read_csv(path)) == 4


FOREIGN = {
    '#{"t_start": 1719000000.0, "env_id": "Pendulum-v1"}\nr,l,t\n-1395.8,199,0.22\n': ["monitor.csv", "sum of l", "r;"],
    "Wall time,Step,Value\n1719000000.0,1000,2.5\n": ["TensorBoard", "Rename Value to return", "env, arm and seed"],
    '"env_steps","a - eval/return","a - eval/return__MIN","a - eval/return__MAX"\n1,2,2,2\n': ["wandb", "env_steps"],
    "rollout/ep_rew_mean,time/total_timesteps\n1,2\n": ["progress.csv", "rollout/ep_rew_mean to return"],
    "algo,seed,timesteps,reward\nppo,1,1,1\n": [
        "no column env, arm, step, return",
        "rename algo to arm, timesteps to step, reward to return",
    ],
    HEAD + ",Return\na,b,1,1,1,1\n": ["two columns are called return"],
    HEAD + "\nAnt,a,1.5,1,2\n": ["line 2: seed is '1.5'", "whole number"],
    HEAD + "\nAnt,a,x,1,2\n": ["line 2: seed is 'x'"],
    HEAD + "\nAnt,a,1,1,high\n": ["line 2: return is 'high'"],
    HEAD.replace(",", ";") + "\nAnt;a;1;1;1.234,5\n": ["line 2: return is '1.234,5'"],
    HEAD + "\nAnt,a,1,nan,2\n": ["line 2: step nan"],
    HEAD.replace(",", ";") + "\nAnt;a;1;100.000;850\n": ["line 2: step is '100.000'", "thousands"],
    HEAD.replace(",", "\t") + "\nAnt\ta\t1\t1,000,000\t850\n": ["line 2: step is '1,000,000'", "thousands"],
    HEAD + ',note\nAnt,a,1,1,2,"restarted\nAnt,b,1,1,2,\n': ["no CSV of", "unexpected end of data"],
}


@pytest.mark.parametrize("content", FOREIGN)
def test_what_cannot_be_read_is_named_with_the_way_out(tmp_path, content):
    (path := tmp_path / "t.csv").write_text(content)
    with pytest.raises(CompareError) as caught:
        read_csv(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and all(word in line for word in FOREIGN[content]), line


def test_text_that_is_not_unicode_says_what_to_do(tmp_path):
    (path := tmp_path / "t.csv").write_bytes(text().replace("Ant", "Läufer").encode("latin-1"))
    with pytest.raises(CompareError, match="UTF-8"):
        read_csv(path)


def test_an_empty_cell_is_no_row_and_no_failure(tmp_path):
    rows = [("e", "a", 1, 1, 3.0), ("e", "a", 1, 2, ""), ("e", "a", 1, 3, "NA"), ("e", "a", 2, 3, "nan")]
    (path := tmp_path / "t.csv").write_text(text(rows))
    one, two = read_csv(path)
    assert one.failed is None and one.curves["return"][0].tolist() == [1.0] and one.notes == ()
    assert two.failed == "its last return, at step 3, is NaN" and two.curves == {}


def test_a_folder_of_tables_is_a_source(tmp_path):
    """A file a seed; whether a run ended early is judged among all of them."""
    (tmp_path / "deep").mkdir()
    for seed, last in ((1, 10), (2, 10), (3, 4)):
        rows = [("e", "a", seed, 100 * step, 1.0 * step) for step in range(1, last + 1)]
        (tmp_path / "deep" / f"[{seed}].csv").write_text(text(rows))
    runs = load([tmp_path, tmp_path / "deep" / "[1].csv"])
    assert [run.seed for run in runs] == [1, 2, 3]
    assert [run.failed for run in runs] == [None, None, "ends at step 400 of 1,000"]


def test_tables_beside_run_folders_are_not_looked_at(run_folder, tmp_path):
    (run_folder([1.0]) / "notes.csv").write_text("no table of runs")
    assert [run.env for run in load([tmp_path / "runs"])] == ["Toy-v0"]
