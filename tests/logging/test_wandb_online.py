"""wandb online, against a server of our own on this machine that speaks what the client needs."""

import gzip
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ppo.config.options import option
from ppo.logging.base import Forgiving, Run

pytest.importorskip("wandb")

KEY = "0123456789abcdef" * 3


def wandb(run, **given):
    return option("logger", "wandb", **given)(run)


class Server(ThreadingHTTPServer):
    """Takes runs, their history and their files. ``deaf``: from now on it takes requests and never answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs, self.history, self.summary, self.exit, self.keys = {}, {}, {}, {}, set()
        self.deaf, self.over = threading.Event(), threading.Event()

    def handle_error(self, *_):
        """A client that hangs up is no trouble."""

    def answer(self, path, body):
        if path == "/graphql":
            request = json.loads(body)
            given = request["variables"]
            if request["operationName"] == "UpsertBucket":
                run = self.runs.setdefault(given["name"], {})
                run.update({key: value for key, value in given.items() if value is not None})
                project = {"name": given["project"], "entity": {"name": "me"}}
                bucket = {"id": "1", "name": given["name"], "displayName": given["displayName"], "project": project}
                return {"data": {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}}
            if request["operationName"] == "RunResumeStatus":
                return {"data": {"model": {"id": "1", "name": given["project"], "bucket": self.bucket(given["name"])}}}
            if request["operationName"] == "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in given["files"]]
                return {"data": {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}}
            return {"data": {}}
        if path.endswith("/file_stream"):
            run, stream = path.split("/")[-2], json.loads(body)
            files = stream.get("files", {})
            rows = files.get("wandb-history.jsonl", {}).get("content", [])
            self.history.setdefault(run, []).extend(json.loads(row) for row in rows)
            for text in files.get("wandb-summary.json", {}).get("content", []):
                self.summary[run] = json.loads(text)
            if stream.get("complete"):
                self.exit[run] = stream["exitcode"]
        return {}

    def bucket(self, name):
        """What a client that continues a run wants to know of it; None where there is none."""
        if name not in self.runs:
            return None
        rows = self.history.get(name, [])
        return {
            "id": "1",
            "name": name,
            "displayName": self.runs[name]["displayName"],
            "historyLineCount": len(rows),
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "summaryMetrics": json.dumps(self.summary.get(name, {})),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "config": self.runs[name]["config"],
            "tags": self.runs[name].get("tags", []),
            "wandbConfig": "{}",
        }


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.server.deaf.is_set():
            self.server.over.wait()
            return
        self.server.keys.add(self.headers.get("Authorization"))
        answer = json.dumps(self.server.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def server(logged_out, monkeypatch):
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server
        server.over.set()
        server.shutdown()


def test_a_logged_in_machine_is_online(tmp_path, server, capfd):
    ids = []
    for arm, failed in (("exact", False), ("k3", True)):
        logger = wandb(Run(tmp_path / arm, arm, {"kl": arm}, "sweep", f"kl={arm}", ("ab",)))
        logger.log({"update": 1, "kl/exact": 0.25}, 64)
        logger.log({"update": 2, "kl/exact": 0.5}, 128)
        logger.close({"eval/best": 9.0}, failed)
        ids.append(logger.run_id)
    assert len(set(ids)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [f"wandb: online, {server.url}/me/exactkl/runs/{id}" for id in ids]
    assert set(server.runs) == set(ids)
    for id, arm, code in zip(ids, ("exact", "k3"), (0, 1), strict=True):
        run = server.runs[id]
        assert (run["displayName"], run["groupName"], run["jobType"], run["tags"]) == (
            arm,
            "sweep",
            f"kl={arm}",
            ["ab"],
        )
        assert json.loads(run["config"])["kl"]["value"] == arm
        assert [(row["env_steps"], row["kl/exact"]) for row in server.history[id]] == [(64, 0.25), (128, 0.5)]
        assert server.summary[id]["eval/best"] == 9
        assert server.exit[id] == code
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_resumed_run_goes_on_under_its_id(tmp_path, server):
    """Its rows follow those that are there."""
    first = wandb(Run(tmp_path / "run", "a", {"seed": 1}))
    first.log({"update": 1, "kl/exact": 0.25}, 64)
    first.close({}, failed=True)
    again = wandb(Run(tmp_path / "run", "a", {"seed": 1}, id=first.run_id))
    again.log({"update": 2, "kl/exact": 0.5}, 128)
    again.close({}, failed=False)
    assert again.run_id == first.run_id and set(server.runs) == {first.run_id}
    rows = server.history[first.run_id]
    assert [row["env_steps"] for row in rows] == [64, 128]
    assert server.exit[first.run_id] == 0


def test_a_server_that_falls_silent_costs_neither_the_run_nor_its_end(tmp_path, server, capfd):
    logger = Forgiving(wandb(Run(tmp_path / "run", "a", {}), finish_timeout=1.0))
    capfd.readouterr()
    server.deaf.set()
    began = time.monotonic()
    for step in range(100):
        logger.log({"update": step}, step)
    assert time.monotonic() - began < 2
    logger.close({}, failed=False)
    assert time.monotonic() - began < 15
    expected = r"wandb: failed, the run goes on: upload not finished; do it later with: wandb sync \S+\n"
    assert re.fullmatch(expected, capfd.readouterr().err)
