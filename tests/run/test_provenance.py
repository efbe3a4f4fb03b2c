"""Provenance: what was run, with which code and versions, and nothing secret."""

import json
import subprocess
import sys
from importlib.metadata import version

from ppo.run import provenance as module
from ppo.run.provenance import provenance


def test_facts_without_secrets(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "s3cret" * 7)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "ppo.train", "name=a b"])
    facts = provenance()
    assert facts["command"] == "python -m ppo.train 'name=a b'"
    assert facts["versions"]["torch"] == version("torch")
    assert facts["cpu_count"] >= 1
    assert "s3cret" not in json.dumps(facts)


def test_commit_and_dirty_flag(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("a = 1\n")
    assert module._git(code) is None  # no repository
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "zeroth")
    assert module._git(code) is None  # a repository that does not track it: code installed inside someone's checkout
    git("add", "code.py")
    git("commit", "-q", "-m", "first")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook
    found = module._git(code)
    monkeypatch.delenv("GIT_DIR")
    assert found == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    code.write_text("a = 2\n")
    assert module._git(code)["dirty"]
    git("commit", "-q", "-am", "second")
    (tmp_path / "new.py").write_text("")  # a new file may be the very function the run uses
    assert module._git(code)["dirty"]
