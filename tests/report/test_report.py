"""The page of one run: its numbers, its findings, its videos; and mistakes that end in one line."""

import json
import os

import numpy as np
import pytest
import yaml

from ppo.logging.metrics import METRICS, about
from ppo.report import films
from ppo.report.__main__ import main
from tests.page.reader import Read, data_of, sources

CONFIG = {
    "total_steps": 12_000,
    "target_kl": 0.01,
    "stop": {"_target_": "ppo.control.stop.minibatch", "factor": 1.5},
    "kl": {"_target_": "ppo.loss.kl.exact"},
    "env": {"_target_": "envs.gym.gym", "id": "<b>Toy</script>-v0"},
    "token": "${oc.env:REPORT_SECRET}",
}
KL = [0.004, 0.004, 0.025, 0.008, 0.009, 0.2, 0.009, 0.008, 0.007, 0.008, 0.0075, 0.0085]  # healthy but for two


@pytest.fixture
def run(tmp_path):
    """The folder of a run of twelve updates."""
    folder = tmp_path / "outputs" / "<i>&run"
    folder.mkdir(parents=True)
    rows = [
        {"update": i, "env_steps": 1000 * i, "kl/final": kl, "train/return": 10.0 * i, "loss/value": 1 / i}
        | {"value/explained_variance": 0.5, "policy/sigma": 0.5, "update/stop": "none", "trace/exact": [[1, kl]]}
        | {"update/steps": 40, "update/planned": 40, "clip/fraction": 0.1, "policy/entropy": 1.0}
        | ({"eval/return": 7.5 * i} if i % 4 == 0 else {})
        for i, kl in enumerate(KL, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    facts = {"status": "finished", "name": "<i>&run", "git": {"commit": "c0ffee", "dirty": True}, "python": "3.11.7"}
    facts |= {"command": "python -m ppo.train 'env.id=<b>'", "versions": {"torch": "2.13.0"}}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def page_of(folder, *words) -> str:
    assert main([str(folder), *words]) == 0
    return (folder / "report.html").read_text("utf-8")


def test_the_curves_are_the_numbers_of_the_run(run):
    data = data_of(page_of(run))
    charts = {chart["title"]: chart for chart in data["charts"]}

    def curve(chart: str, name: str) -> tuple[list, list]:
        (line,) = [line for line in charts[chart]["lines"] if line["name"] == name]
        return data["xs"][line["x"]], line["y"]

    assert curve("return", "eval/return") == ([4000, 8000, 12000], [30, 60, 90])
    kl = "KL(old‖new) after each update [nat]"
    assert charts[kl]["scale"] == "kl" and curve(kl, "kl/final")[1] == KL
    assert curve(kl, "kl/final, warning") == ([3000], [0.025])  # each dot in the band of its update
    assert curve(kl, "kl/final, critical") == ([6000], [0.2])
    assert curve(kl, "limit of the stop") == ([1000, 12000], [0.015, 0.015])
    assert charts["value loss"]["scale"] == "log"


def test_every_number_can_be_chosen_and_says_what_it_is(run):
    data = data_of(page_of(run))
    (choice,) = data["choices"]
    chosen = {chart["when"]["metric"][0]: chart for chart in data["charts"] if chart["when"]}
    assert [*chosen] == choice["options"] and choice["options"][0] == "loss/value"
    assert not {"update", "env_steps", "update/stop", "trace/exact"} & {*chosen}
    assert chosen["kl/final"]["note"] == METRICS["kl/final"].text and chosen["kl/final"]["title"] == "kl/final [nat]"


def test_a_metric_is_found_by_its_general_name():
    assert about("kl/k3") is METRICS["kl/<kl>"] and about("policy/sigma/11") is METRICS["policy/sigma/<d>"]
    assert about("kl/final") is METRICS["kl/final"] and about("no/such") is None


def test_it_names_where_the_run_comes_from_and_no_secret(run, monkeypatch):
    monkeypatch.setenv("REPORT_SECRET", "hunter2")
    page = page_of(run)
    read = Read(page)
    cells = read.within("td")
    assert "c0ffee, with uncommitted changes" in cells and "2.13.0" in cells and "${oc.env:REPORT_SECRET}" in cells
    assert {("kl", "exact"), ("stop", "minibatch"), ("stop.factor", "1.5")} <= {*zip(cells, cells[1:])}
    assert "hunter2" not in page and "<b>Toy</script>-v0" in cells and read.within("h1") == ["<i>&run"]
    assert read.within("pre") == ["python -m ppo.train 'env.id=<b>'"]
    assert "finished, 12 updates, 12,000 steps, evaluation at the end 90.0" in read.within("p")
    assert sources(page) == []


def test_a_finding_is_a_card_with_what_to_type(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"kl/final": 0.5, "guard/nonfinite": float(row["update"] > 6), "update/stop": "nonfinite"}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = Read(page_of(run))
    said = [attributes["class"] for tag, attributes in read.elements if tag == "li" and "class" in attributes]
    assert len(said) >= 2 and "good" not in said and any("; " in text for text in read.within("b"))


def test_videos_are_within_and_what_is_too_large_is_named(run, monkeypatch):
    (run / "videos").mkdir()
    (run / "videos" / "new&.mp4").write_bytes(b"12345")
    (run / "old.gif").write_bytes(b"GIF")
    (run / "wandb" / "media").mkdir(parents=True)
    (run / "wandb" / "media" / "copy.gif").write_bytes(b"GIF")  # the same film once more
    (run / "huge.webm").write_bytes(b"x" * 46)  # would fit alone
    for age, name in enumerate(("videos/new&.mp4", "old.gif", "huge.webm")):
        os.utime(run / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(films, "MOST", 50)
    page = page_of(run)
    assert sources(page) == ["data:video/mp4;base64,MTIzNDU=", "data:image/gif;base64,R0lG"]
    read = Read(page)
    assert read.within("figcaption") == ["videos/new&.mp4", "old.gif"]
    assert any("huge.webm" in text for text in read.within("p"))


def test_a_link_out_of_the_folder_is_not_embedded(run, tmp_path):
    (tmp_path / "private.gif").write_bytes(b"GIF")
    (run / "here.gif").symlink_to(tmp_path / "private.gif")
    assert sources(page_of(run)) == []


def test_where_it_is_written_and_how_it_is_shown(run, tmp_path, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    out = tmp_path / "new" / "it.html"
    assert main([str(run / "metrics.jsonl"), "--out", str(out), "--open"]) == 0
    assert capsys.readouterr().out == f"{out}\n" and shown == [out.as_uri()] and not (run / "report.html").exists()


def test_a_run_that_logged_little_has_a_page_too(run):
    rows = [{"update": 1, "env_steps": 1000, "kl/final": 0.004, "update/steps": 1, "update/planned": 1}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.yaml").unlink()
    (run / "run.json").unlink()
    data = data_of(page_of(run))
    assert data["charts"][0]["lines"][0]["y"] == [0.004]
    assert [chart["title"] for chart in data["charts"] if not chart["when"]] == [data["charts"][0]["title"], "return"]


def test_mistakes_are_one_line(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "metrics.jsonl").write_text("{no json}\n{}\n")
    for given, said in [
        (tmp_path / "nowhere", "no metrics.jsonl there"),
        (tmp_path / "empty", "no metrics.jsonl there"),
        (tmp_path / "outputs", "1 runs below it"),
        (broken, "line 1"),
    ]:
        assert main([str(given)]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1 and said in line, line


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("run.json", '{"resumed": true}', "resumed is no list"),
        ("metrics.jsonl", '{"update": 1, "kl/final": 0.1, "update/steps": 1}\n', "row 1: update/planned is no number"),
        (
            "metrics.jsonl",
            '{"update": 1, "kl/final": 0.1, "update/steps": 1, "update/planned": "NaN"}\n',
            "not above 0",
        ),
    ],
)
def test_a_damaged_file_is_one_line(run, capsys, file, text, said):
    (run / file).write_text(text)
    assert main([str(run)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and said in line


def test_a_run_whose_kl_is_not_known_has_a_page(run, recwarn):
    row = {"update": 1, "env_steps": 1000, "kl/final": "NaN", "update/steps": 1, "update/planned": 1}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert "KL(old‖new) after an update: unknown" in page_of(run) and not recwarn.list


def test_a_gap_is_no_zero(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows[3]["train/return"] = "NaN"
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (line,) = data_of(page_of(run))["charts"][1]["lines"][:1]
    assert line["y"][3] is None and np.isfinite(line["y"][:3]).all()
