"""Dashboards: what wandb's workspace shows, where it is saved, and trackio's pages over run folders."""

import json
import subprocess
import sys
import threading

import pytest

from ppo.logging import metrics
from ppo.logging.band import band
from scripts import wandb_dashboard
from tests.logging.server import KEY, Server

ROOT = wandb_dashboard.Path(__file__).parents[2]


def test_every_panel_shows_metrics_that_a_run_logs_and_every_band_has_its_edge():
    panels = [panel for section in wandb_dashboard.SECTIONS.values() for panel in section]
    metrics.check(name for panel in panels for name in ([panel] if isinstance(panel, str) else panel))
    assert {edge: band(edge).name for edge in wandb_dashboard.EDGES} == wandb_dashboard.EDGES
    assert all(band(edge * 1.001).name != name for edge, name in wandb_dashboard.EDGES.items())


def test_without_a_server_the_workspace_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr("wandb.login", lambda **_: False)
    assert wandb_dashboard.main(["--out", str(tmp_path / "new" / "w.json")]) == 0
    assert "not logged in" in capsys.readouterr().out
    check_spec(json.loads((tmp_path / "new" / "w.json").read_text())["spec"])


def check_spec(spec):
    section = spec["section"]
    titles = [part["name"] for part in section["panelBankConfig"]["sections"]]
    assert titles == ["Returns", "KL", "Trust region", "Critic", "Guards", "Speed"]
    assert [key["name"] for key in section["runSets"][0]["grouping"]] == ["group", "jobType"]
    config = section["panelBankConfig"]["sections"][1]["panels"][0]["config"]
    assert config["metrics"] == ["kl/final"] and config["xAxis"] == "env_steps"
    assert [line[-4:] for line in config["expressions"]] == ["0.01", "0.02", "0.03", "0.05"]


class Views(Server):
    """A wandb server of our own that keeps workspaces too."""

    def answer(self, path, body):
        request = json.loads(body) if path == "/graphql" else {}
        if "upsertView" in request.get("query", ""):
            self.view = request["variables"]
            return {"data": {"upsertView": {"view": {"id": "1", "name": "nw-abc-v"}, "inserted": True}}}
        if "viewer" in request.get("query", ""):
            teams = {"edges": [{"node": {"name": "me"}}]}
            return {"data": {"viewer": {"id": "1", "username": "me", "entity": "me", "flags": "{}", "teams": teams}}}
        return super().answer(path, body) if "operationName" in request else {"data": {"serverInfo": {}}}


@pytest.mark.slow
def test_with_a_server_the_workspace_is_saved_there(tmp_path):
    pytest.importorskip("wandb_workspaces")
    with Views() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "scripts/wandb_dashboard.py"), "--project", "p", "--entity", "me"]
        environment = home | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        server.over.set()
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{server.url}/me/p?nw="), done.stdout + done.stderr
    assert (server.view["entityName"], server.view["projectName"], server.view["displayName"]) == ("me", "p", "Arms")
    check_spec(json.loads(server.view["spec"]))


IMPORT = """
import json, sys
from pathlib import Path
from scripts.dashboard import PROJECT, add_new
from trackio.sqlite_storage import SQLiteStorage as storage
runs = Path(sys.argv[1])
def rows(arm, seed, *returns):
    folder = runs / "sweep" / f"+experiment=toy,kl={arm},seed={seed}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"update": i, "env_steps": 64 * i, "eval/return": r}) for i, r in enumerate(returns, 1)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\\n" for line in lines))
    text = f"seed: {seed}\\nkl: {{_target_: ppo.loss.kl.{arm}}}\\nclip: {{eps: 0.2}}\\nnote: ${{oc.env:PATH}}\\n"
    (folder / "config.yaml").write_text(text)
def known():
    return {r["name"]: [(log["step"], log["eval/return"]) for log in storage.get_logs(PROJECT, run_id=r["id"])]
            for r in storage.get_run_records(PROJECT)}
(runs / "sweep").mkdir()
words = ["+sweep=ab", "+experiment=toy", "kl=exact,k3"]
(runs / "sweep" / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": words}}}))
rows("exact", 1, 1.0, 2.0)
seen = {}
said = [add_new([runs], storage, seen), add_new([runs], storage, seen), add_new([runs], storage, {})]
rows("exact", 1, 1.0, 2.0, 3.0)
rows("k3", 1, 5.0)
said += [add_new([runs], storage, seen), known(), storage.get_all_run_configs(PROJECT)]
broken = runs / "sweep" / "broken"
broken.mkdir()
(broken / "metrics.jsonl").write_text("no row\\n")
rows("exact", 1, 7.0)
said += [add_new([runs], storage, seen), known()]
rows("k3", 1, 5.0, 6.0)
status = runs / "sweep" / "+experiment=toy,kl=k3,seed=1" / "run.json"
for word in ("running", "finished"):
    status.write_text(json.dumps({"status": word}))
    said.append(add_new([runs], storage, seen))
print(json.dumps(said))
"""


def test_trackio_has_each_row_once_and_a_run_that_began_anew_in_place_of_the_old(tmp_path):
    pytest.importorskip("trackio")
    environment = {"TRACKIO_DIR": str(tmp_path / "t"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PATH": "/bin"}
    (tmp_path / "runs").mkdir()
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "runs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(str(tmp_path / "runs/sweep/broken")) and done.stderr.count("\n") == 1
    first, again, unseen, more, known, configs, anew, after, runs, ended = json.loads(done.stdout)
    assert (runs, ended) == (0, 1)  # the last row of a run waits for its evaluation, until it has ended
    assert (first, again, unseen, more, anew) == (2, 0, 0, 2, 1)
    exact, k3 = "sweep/kl=exact,seed=1", "sweep/kl=k3,seed=1"
    assert known == {exact: [[64, 1.0], [128, 2.0], [192, 3.0]], k3: [[64, 5.0]]}
    assert after == {exact: [[64, 7.0]], k3: [[64, 5.0]]}
    (config,) = [config for config in configs.values() if config["kl"] == "k3"]
    assert {"arm": "kl=k3", "_Group": "sweep", "seed": 1, "clip.eps": 0.2}.items() <= config.items()
    assert config["note"] == "${oc.env:PATH}"  # not what is there
