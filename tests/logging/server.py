"""A server of wandb's on this machine, that speaks what the client needs."""

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "0123456789abcdef" * 3


ME = {"id": "1", "entity": "me", "username": "me", "teams": {"edges": []}}
WHERE = {"id": "P", "internalId": "1", "entity": {"name": "me"}, "name": "exactkl"}  # a project


class Artifacts:
    """What the client asks for when it writes versions of artifacts and reads them, by the names of its queries."""

    def __init__(self, server):
        self.url = server.url
        self.uploaded: dict[str, bytes] = {}  # by the path that it was put to
        self.made: list[dict] = []  # one a version: "name", "metadata", "manifest" (where it is put to)
        self.asked = {
            "Viewer": lambda given: {"viewer": ME},
            "GetDefaultEntity": lambda given: {"viewer": ME},
            "ArtifactType": lambda given: {"project": None},
            "CreateArtifact": self.create,
            "CreateArtifactManifest": self.manifest,
            "UpdateArtifactManifest": self.manifest,
            "CreateArtifactFiles": self.files,
            "CommitArtifact": lambda given: {"commitArtifact": {"artifact": {"id": "A0", "digest": "d"}}},
            "ArtifactMembershipByName": self.by_name,
            "FetchArtifactManifest": self.read_manifest,
            "GetArtifactMembershipFileUrls": self.file_urls,
        }

    def create(self, given):
        told = given["input"]
        self.made.append({"name": told["artifactCollectionName"], "metadata": told["metadata"]})
        new = {"id": f"A{len(self.made) - 1}", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": new}}

    def manifest(self, given):
        number = len(self.made) - 1
        place = f"/put/manifest/{number}"
        self.made[-1]["manifest"] = place
        file = {"id": "F", "name": "m", "displayName": "m", "uploadUrl": self.url + place, "uploadHeaders": []}
        about = {"artifactManifest": {"id": f"M{number}", "file": file}}
        return {"createArtifactManifest": about, "updateArtifactManifest": about}

    def files(self, given):
        number = len(self.made) - 1
        nodes = []
        for told in given["input"]["artifactFiles"]:
            place = f"/put/files/{number}/{told['name']}"
            node = {"id": "F", "name": told["name"], "displayName": told["name"], "uploadUrl": self.url + place}
            node |= {"uploadHeaders": [], "uploadMultipartUrls": None, "storagePath": place}
            nodes.append({"node": node | {"artifact": {"id": f"A{number}"}}})
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def by_name(self, given):
        name, _, alias = given["name"].partition(":")
        versions = [i for i, made in enumerate(self.made) if made["name"] == name]
        at = -1 if alias == "latest" else int(alias[1:])
        if given["project"] != "exactkl" or not -len(versions) <= at < len(versions):
            return {"project": {"artifactCollectionMembership": None}}
        number, at = versions[at], versions.index(versions[at])
        time = "2026-01-01T00:00:00Z"
        collection = {"__typename": "ArtifactSequence", "name": name, "project": WHERE}
        version = {
            "__typename": "Artifact", "id": f"A{number}", "artifactSequence": collection, "versionIndex": at,
            "artifactType": {"name": "model"}, "description": None, "metadata": self.made[number]["metadata"],
            "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "historyStep": None, "state": "COMMITTED",
            "size": 1000, "digest": "d", "commitHash": "c", "fileCount": 1, "createdAt": time, "updatedAt": time,
        }  # fmt: skip
        about = {"__typename": "ArtifactCollectionMembership", "id": "B", "versionIndex": at, "createdAt": time}
        about |= {"aliases": [], "artifactCollection": collection, "artifact": version}
        return {"project": {"artifactCollectionMembership": about}}

    def read_manifest(self, given):
        place = self.made[int(given["id"][1:])]["manifest"]
        return {"artifact": {"currentManifest": {"file": {"directUrl": self.url + place}}}}

    def file_urls(self, given):
        number = [i for i, made in enumerate(self.made) if made["name"] == given["collection"]][int(given["alias"][1:])]
        places = [place for place in self.uploaded if place.startswith(f"/put/files/{number}/")]
        nodes = [
            {"node": {"__typename": "File", "name": p.split("/", 4)[4], "directUrl": self.url + p}} for p in places
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        membership = {"artifactMembership": {"files": {"pageInfo": page, "edges": nodes}}}
        return {"project": {"artifactCollection": {"__typename": "ArtifactSequence"} | membership}}


class Server(ThreadingHTTPServer):
    """Takes runs, their history and their files. ``deaf``: from now on it takes requests and never answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs, self.history, self.summary, self.exit, self.keys = {}, {}, {}, {}, set()
        self.artifacts = Artifacts(self)
        self.deaf, self.over = threading.Event(), threading.Event()

    def handle_error(self, *_):
        """A client that hangs up is no trouble."""

    def answer(self, path, body):
        if path == "/graphql":
            request = json.loads(body)
            given = request.get("variables") or {}
            asked = re.search(r"(?:query|mutation) (\w+)", request["query"])
            if asked and asked[1] in self.artifacts.asked:
                return {"data": self.artifacts.asked[asked[1]](given)}
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
        if path.startswith(("/put/files/", "/put/manifest/")):
            self.artifacts.uploaded[path] = body
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

    def do_GET(self):
        self.send(self.server.artifacts.uploaded.get(self.path, b""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.server.deaf.is_set():
            self.server.over.wait()
            return
        self.server.keys.add(self.headers.get("Authorization"))
        self.send(json.dumps(self.server.answer(self.path, body)).encode())

    def send(self, answer):
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, *_):
        pass
