"""Runs as a comparison sees them, from our run folders, from wandb's offline folders, or from a CSV of any framework."""

import csv
import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.foreign import current
from ppo.logging import jsonl
from ppo.run.folder import run_folders

COLUMNS = ("env", "arm", "seed", "step", "return")
CURVES = {"eval/return": "eval", "train/return": "train"}  # deterministic evaluation is not training return
COMPLETE = 0.9  # a CSV cannot say that a run died: one that ends before this share of its arm's longest did


class CompareError(ValueError):
    """What was given cannot be compared. One line: what, where, and what would help."""


class Trial(NamedTuple):
    """One run: an environment, a seed, and what became of it."""

    env: str
    seed: int
    arm: str | None  # as a CSV names it; None: to be derived from the configuration
    failed: str | None  # why it counts as failed; None: finished
    curves: dict[str, tuple[np.ndarray, np.ndarray]]  # "eval", "train" or "return": (environment steps, returns)
    rows: list[dict]  # metrics.jsonl
    config: dict | None  # as it was resolved; None: not known
    code: dict  # "git.commit", "versions.torch" ...: what must be equal beside the configuration
    command: str | None  # as typed
    source: Path


def load(paths: list[Path]) -> list[Trial]:
    """Every run below ``paths``. A run that did not finish is there too, with its reason.

    Raises CompareError where a path does not exist, holds no run or something damaged, and where a CSV and folders mix.
    """
    found: dict[Path, Trial] = {}
    for path in paths:
        if not path.exists():
            raise CompareError(f"{path}: no such file or folder")
        trials = read_csv(path) if path.is_file() else [*_folder(path)]
        if not trials:
            raise CompareError(f"{path}: no run below it (a run folder holds metrics.jsonl and run.json)")
        for number, trial in enumerate(trials):  # a path given twice is the same runs
            found[trial.source.resolve() / str(number if path.is_file() else "")] = trial
    if len({trial.arm is None for trial in found.values()}) > 1:
        raise CompareError("run folders and a CSV cannot be mixed: a CSV says nothing of what was evaluated and how")
    return list(found.values())


def _folder(path: Path) -> Iterator[Trial]:
    yield from map(read_run, run_folders(path))
    for file in sorted(path.rglob("*.wandb")):
        inside = any((parent / "run.json").exists() for parent in file.resolve().parents)
        if not inside:  # the offline folder of one of ours is the same run again
            yield read_wandb(file)


def read_run(folder: Path) -> Trial:
    """One of our run folders. Raises CompareError where it does not say which configuration it ran."""
    if not (folder / "config.yaml").is_file():
        raise CompareError(f"{folder}: no config.yaml, so that its arm is unknown; complete or remove the folder")
    try:
        # Not resolved: a run writes no interpolation, and ${oc.env:...} would put what is secret into the report.
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
        about = json.loads((folder / "run.json").read_text()) if (folder / "run.json").is_file() else {}
        rows = jsonl.read(folder / "metrics.jsonl") if (folder / "metrics.jsonl").is_file() else []
    except (ValueError, OSError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise CompareError(f"{folder}: {' '.join(str(error).split())}") from None
    git = about.get("git") or {} if isinstance(about, dict) else None
    if not (isinstance(config, dict) and isinstance(git, dict) and isinstance(about.get("versions", {}), dict)):
        raise CompareError(f"{folder}: config.yaml or run.json is not what a run writes")
    status = about.get("status")
    failed = None if status == "finished" else str(about.get("reason") or "not finished: killed, or still running")
    facts = {"git.commit": git.get("commit"), "git.dirty": git.get("dirty"), "python": about.get("python")}
    code = facts | {f"versions.{name}": version for name, version in about.get("versions", {}).items()}
    return _trial(config, rows, failed, code if about else {}, about.get("command"), folder)


def read_wandb(file: Path) -> Trial:
    """The transaction log of an offline wandb run, as ``wandb leet inspect`` prints it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
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
    for line in pinned.read_text().splitlines() if pinned.is_file() else []:
        name, equal, version = line.partition("==")
        if equal:
            code[f"versions.{name}"] = version
    failed = None if ended == 0 else "not finished: killed, or still running" if ended is None else f"exit code {ended}"
    typed = " ".join([str(facts.get("executable", "python")), str(facts.get("program", "")), *facts.get("args", [])])
    return _trial(config, rows, failed, code, typed if facts.get("args") else None, file)


def _number(value):
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _trial(config: dict, rows: list[dict], failed: str | None, code: dict, command: str | None, source: Path) -> Trial:
    if not isinstance(config.get("seed"), int) or not isinstance(config.get("env"), dict):
        raise CompareError(f"{source}: its configuration names no env and seed; is it a run of ppo.train?")
    curves = {}
    for metric, name in CURVES.items():
        points = [(row["env_steps"], row[metric]) for row in rows if metric in row and "env_steps" in row]
        if points:
            try:
                steps, values = np.array(points, dtype=float).T
            except (ValueError, OverflowError):
                raise CompareError(f"{source}: {metric} is not always a number") from None
            curves[name] = steps, values
            if not math.isfinite(values[-1]):
                failed = failed or f"its last {metric} is {values[-1]}"
    config = current(config)
    env = config["env"]
    target = str(env.get("_target_", "env")).rsplit(".", 1)[-1]
    name = env.get("id") or "-".join(str(part) for part in (target, env.get("task")) if part)
    return Trial(str(name), int(config["seed"]), None, failed, curves, rows, config, code, command, source)


def read_csv(path: Path) -> list[Trial]:
    """``env,arm,seed,step,return`` in any order, other columns ignored. Raises CompareError with the line at fault.

    A run whose last return is no number, or that ends before 90 % of its arm's longest, counts as failed.
    """
    runs: dict[tuple[str, str, int], dict[float, float]] = defaultdict(dict)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise CompareError(f"{path}, line 1: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                key, step, value = _csv_row(row, where)
                if step in runs[key]:
                    raise CompareError(f"{where}: {key[1]}, seed {key[2]} has step {step:g} twice")
                runs[key][step] = value
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise CompareError(f"{path}: not a CSV of {','.join(COLUMNS)} ({error})") from None
    longest: dict[tuple[str, str], float] = {}
    for (env, arm, _), points in runs.items():
        longest[env, arm] = max(longest.get((env, arm), 0.0), *points)
    trials = []
    for (env, arm, seed), points in sorted(runs.items()):
        steps = np.array(sorted(points))
        values, full = np.array([points[step] for step in steps]), longest[env, arm]
        failed = None
        if not math.isfinite(values[-1]):
            failed = f"its last return is {values[-1]}"
        elif steps[-1] < COMPLETE * full:
            failed = f"ends at step {steps[-1]:g} of {full:g}"
        curves = {"return": (steps, values)}
        trials.append(Trial(env, seed, arm, failed, curves, [], None, {"steps": full}, None, path))
    return trials


def _csv_row(row: dict, where: str) -> tuple[tuple[str, str, int], float, float]:
    if None in row or None in row.values():
        raise CompareError(f"{where}: not as many fields as the header has")
    env, arm = row["env"].strip(), row["arm"].strip()
    if not env or not arm:
        raise CompareError(f"{where}: env and arm must be named")
    try:
        seed, step, value = int(row["seed"]), float(row["step"]), float(row["return"].strip() or "nan")
    except ValueError as error:
        raise CompareError(f"{where}: {error}") from None
    if not math.isfinite(step):
        raise CompareError(f"{where}: step {step} is no place on the axis")
    return (env, arm, seed), step, value
