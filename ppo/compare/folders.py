"""Runs of ppo.train as a comparison sees them: a run folder, or the offline folder of a wandb run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.compare.trial import CompareError, Trial, logged
from ppo.config.foreign import current
from ppo.logging import jsonl

METRICS = {"eval": "eval/return", "train": "train/return"}  # deterministic evaluation is not training return
_UNFINISHED = "not finished: killed, or still running"


def read_run(folder: Path) -> Trial:
    """One of our run folders. Raises CompareError where it does not say which configuration it ran."""
    if not (folder / "config.yaml").is_file():
        raise CompareError(f"{folder}: no config.yaml, so that its arm is unknown; complete or remove the folder")
    try:
        # Not resolved: a run writes no interpolation, and ${oc.env:...} would put what is secret into the report.
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
        about = json.loads((folder / "run.json").read_bytes()) if (folder / "run.json").is_file() else {}
        rows = jsonl.read(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    except (ValueError, OSError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise CompareError(f"{folder}: {' '.join(str(error).split())}") from None
    whole = isinstance(config, dict) and isinstance(about, dict) and isinstance(about.get("versions", {}), dict)
    attempts = [*(about.get("resumed") or []), about] if whole else []  # the first one first
    if not whole or not all(map(_is_attempt, attempts)):
        raise CompareError(f"{folder}: config.yaml or run.json is not what a run writes")
    git = [attempt.get("git") or {} for attempt in attempts]
    command = next((x["command"] for x in attempts if x.get("command")), None)
    status = about.get("status")
    failed = None if status == "finished" else str(about.get("reason") or _UNFINISHED)
    commits = dict.fromkeys(str(x["commit"]) for x in git if x.get("commit"))
    dirty = next(
        (x["dirty"] for x in sorted(git, key=lambda x: not x.get("dirty")) if x.get("dirty") is not None), None
    )
    facts = {"git.commit": ", then ".join(commits) or None, "git.dirty": dirty, "python": about.get("python")}
    code = facts | {f"versions.{name}": version for name, version in about.get("versions", {}).items()}
    for package in about.get("own") or {}:
        digests = dict.fromkeys(str(x["own"][package]) for x in attempts if package in (x.get("own") or {}))
        code[f"own.{package}"] = ", then ".join(digests)
    return _trial(config, rows, failed, code if about else {}, command, folder)


def _is_attempt(about: Any) -> bool:
    return isinstance(about, dict) and all(isinstance(about.get(name) or {}, dict) for name in ("git", "own"))


def read_wandb(file: Path) -> Trial:
    """The transaction log of an offline wandb run, as ``wandb leet inspect`` prints it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
        records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CompareError(f"{file}: wandb cannot read it ({' '.join(str(error).split())})") from None
    config, rows, facts, code, ended = {}, [], {}, {}, None
    for record in records:
        body = record.get(record["type"]) or {}
        if record["type"] == "run":
            config |= body.get("config", {}).get("update", {})
        elif record["type"] == "environment":
            facts |= body
        elif record["type"] == "history":
            rows.append({k: _number(v) for k, v in body.get("item", {}).items() if not k.startswith("_")})
        elif record["type"] == "exit":
            ended = body.get("exit_code", 0)
    config.pop("_wandb", None)
    commit = (facts.get("git") or {}).get("commit")
    code = {"git.commit": commit, "python": str(facts.get("python", "")).removeprefix("CPython ") or None}
    pinned = file.parent / "files" / "requirements.txt"
    for line in pinned.read_text(encoding="utf-8").splitlines() if pinned.is_file() else []:
        name, equal, version = line.partition("==")
        if equal:
            code[f"versions.{name}"] = version
    failed = None if ended == 0 else _UNFINISHED if ended is None else f"exit code {ended}"
    typed = " ".join([str(facts.get("executable", "python")), str(facts.get("program", "")), *facts.get("args", [])])
    return _trial(config, rows, failed, code, typed if facts.get("args") else None, file)


def _number(value):
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _trial(config: dict, rows: list[dict], failed: str | None, code: dict, command: str | None, source: Path) -> Trial:
    if not isinstance(config.get("seed"), int) or not isinstance(config.get("env"), dict):
        raise CompareError(f"{source}: its configuration names no env and seed; is it a run of ppo.train?")
    curves, notes = {}, []
    for name, metric in METRICS.items():
        points = [(row["env_steps"], row[metric]) for row in rows if metric in row and "env_steps" in row]
        if not points:
            continue  # not logged, which is no failure: an evaluation may not have been asked for
        try:
            curve, reason, left_out = logged([(float(step), float(value)) for step, value in points], metric)
        except CompareError as error:
            raise CompareError(f"{source}: {metric} has {error}") from None
        except (TypeError, ValueError, OverflowError):
            raise CompareError(f"{source}: {metric} is not always a number") from None
        failed = failed or reason
        notes += left_out
        if curve is not None:
            curves[name] = curve
    config = current(config)
    env = config["env"]
    target = str(env.get("_target_", "env")).rsplit(".", 1)[-1]
    name = env.get("id") or env.get("name") or "-".join(str(part) for part in (target, env.get("task")) if part)
    seed = int(config["seed"])
    return Trial(str(name), seed, None, failed, curves, rows, config, code, command, source, tuple(notes))
