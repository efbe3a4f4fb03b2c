"""The certificate of exact resume: kill runs at random moments, go on, and compare with a run that nobody touched.

    python scripts/verify_resume.py [--kills N] [--quick] [--seed S]

Every case is one training run, started twice: once left alone, and once sent SIGTERM or SIGKILL at random moments and
started again by the same command until it is done. Parameters, optimiser, statistics, random generators, episodes,
every row of metrics.jsonl (but for what a clock says) and every checkpoint must be the same to the bit. Prints a table;
exit code 1 on any difference.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import ppo.train  # noqa: F401 - imported before the processes fork
from ppo import cli
from ppo.run import checkpoint

CLOCK = ("time/", "speed/")
COMMON = ["logger=none", "network.actor=[32]", "network.critic=[32]", "epochs=2", "minibatch_size=64", "num_envs=4"]
COMMON += ["num_steps=64", "eval.episodes=1", "eval.every=1024", "checkpoint.every=1024", "total_steps=2048"]
ADAPTIVE = ["stop=rollback", "target_kl=0.01", "lr=adaptive_kl", "clip=linear", "norm=group"]
PENDULUM = ["env=gym", "env.id=Pendulum-v1", "action=tanh"]
EAGER, COMPILED = ["compile=false"], ["compile=true"]
CASES = {
    "ant": ["env=ant", "workers=0", *EAGER],
    "hopper, 1 worker": ["env=hopper", "workers=1", "lr=linear", *EAGER],
    "arachne, 2 workers": ["env=arachne", "env.variants=[flat,rough]", "workers=2", *ADAPTIVE, *EAGER],
    "hopper, compiled": ["env=hopper", "workers=0", "lr=linear", *COMPILED],
    "humanoid, 2 workers, compiled": ["env=humanoid", "workers=2", *ADAPTIVE, *COMPILED],
    "Pendulum": [*PENDULUM, "workers=0", *ADAPTIVE, *EAGER],
    "Pendulum, 1 worker, compiled": [*PENDULUM, "workers=1", *COMPILED],
    "HalfCheetah-v5, 2 workers": ["env=mujoco", "env.id=HalfCheetah-v5", "workers=2", *EAGER],
    "HalfCheetah-v5, compiled": ["env=mujoco", "env.id=HalfCheetah-v5", "workers=0", *ADAPTIVE, *COMPILED],
}
QUICK = ("hopper, 1 worker", "Pendulum")
NEEDS = {"env=mujoco": "mujoco", "env=gym": "gymnasium"}


class Verdict(NamedTuple):
    """How one case went."""

    kills: dict[str, int]  # by signal
    updates: int
    differences: list[str]


class Started:
    """A training run in ``folder``, in a process of its own; a context manager. What it says goes to a file beside it.

    Forked from this process, which has imported everything and computed nothing: a start costs no three seconds.
    """

    def __init__(self, folder: Path, words: list[str], environment: Mapping[str, str] = {}):
        self._process = multiprocessing.get_context("fork").Process(target=_train, args=(folder, words, environment))
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_) -> None:
        self.wait()

    def wait(self) -> int:
        """Its exit code when it has ended; minus the number of a signal that killed it."""
        self._process.join()
        return self._process.exitcode or 0

    def ended(self) -> bool:
        return not self._process.is_alive()

    def send(self, number: int) -> None:
        if not self.ended():
            os.kill(self.pid, number)


def _train(folder: Path, words: list[str], environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    with open(folder.with_suffix(".log"), "ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    sys.argv = ["ppo-train", *COMMON, *words, f"hydra.run.dir={folder}"]
    cli.main()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="over all cases (default 50)")
    parser.add_argument("--quick", action="store_true", help="two cases, 4 kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; the runs themselves have seed=1")
    args = parser.parse_args()
    names = [name for name in (QUICK if args.quick else CASES) if _installed(CASES[name])]
    kills = 4 if args.quick else args.kills
    if kills < len(names):
        parser.error(f"--kills {kills}: at least one for each of the {len(names)} cases")
    chance = random.Random(args.seed)
    failed = 0
    print("| case | updates | SIGTERM | SIGKILL | differences |\n|---|---|---|---|---|", flush=True)
    total = {"SIGTERM": 0, "SIGKILL": 0}
    for index, name in enumerate(names):
        share = kills * (index + 1) // len(names) - kills * index // len(names)
        verdict = verify(CASES[name], share, chance)
        failed += bool(verdict.differences)
        total = {key: total[key] + verdict.kills[key] for key in total}
        shown = "; ".join(verdict.differences) or "none"
        print(
            f"| {name} | {verdict.updates} | {verdict.kills['SIGTERM']} | {verdict.kills['SIGKILL']} | {shown} |",
            flush=True,
        )
    print(f"\n{sum(total.values())} kills, {failed} of {len(names)} cases differ")
    sys.exit(bool(failed))


def verify(words: list[str], kills: int, chance: random.Random) -> Verdict:
    """One case: a run left alone, runs killed ``kills`` times in all, and in what they differ from it."""
    kills_by = {"SIGTERM": 0, "SIGKILL": 0}
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work, "whole")
        if "compile=true" in words:  # with the step built, runs take as long as those that are to be killed
            Started(Path(work, "warm"), words).wait()
        began = time.monotonic()
        code = Started(whole, words).wait()
        took = time.monotonic() - began
        reference = rows(whole)
        if code != 0:
            return Verdict(kills_by, len(reference), [f"failed untouched: {_last_line(whole)}"])
        found = []
        for number in range(kills):  # more than one where it was done before all kills were spent
            parts, left = Path(work, f"parts{number}"), kills - sum(kills_by.values())
            # A start takes longer than an update of these small runs: most moments are drawn from the time after it.
            each = reference[-1]["time/wall"] / (left + 1)
            while True:
                with Started(parts, words) as process:
                    name = chance.choice(sorted(kills_by)) if left else None
                    if name:
                        _kill(process, parts, name, chance, 0.5 * took, 1.5 * each)
                    code = process.wait()
                if name and code in (-signal.Signals[name], 128 + signal.Signals[name]):
                    kills_by[name] += 1
                    left -= 1
                    continue
                if code != 0:
                    found.append(f"exit code {code} after {name}: {_last_line(parts)}")
                break
            found += differences(whole, parts)
            if not left or found:
                break
        return Verdict(kills_by, len(reference), found)


def _kill(process: Started, folder: Path, name: str, chance: random.Random, start: float, each: float) -> None:
    """Send the signal at a random moment: one in five within ``start`` seconds of the start, the others within ``each``
    seconds after training has begun."""
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, start))
    else:
        before = _mark(folder)
        while _mark(folder) == before and not process.ended():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, each))
    process.send(signal.Signals[name])


def _mark(folder: Path) -> int:
    """Changes when an attempt begins to train."""
    path = folder / "run.json"
    return path.stat().st_mtime_ns if path.exists() else 0


def differences(whole: Path, parts: Path) -> list[str]:
    """In what two run folders differ, clocks apart."""
    found = []
    one, other = ([_without_clock(row) for row in rows(folder)] for folder in (whole, parts))
    if [row["update"] for row in other] != [row["update"] for row in one]:
        found.append(f"rows {[row['update'] for row in other]}")
    keys = {key for a, b in zip(one, other) for key in {*a, *b} if a.get(key) != b.get(key)}
    found += [f"metric {key}" for key in sorted(keys)]
    names = {path.name for folder in (whole, parts) for path in folder.glob("checkpoints/*")}
    for name in sorted(names):
        paths = [folder / "checkpoints" / name for folder in (whole, parts)]
        if not all(path.exists() for path in paths):
            found.append(f"only one has {name}")
            continue
        (tensors, meta), (tensors_too, meta_too) = map(checkpoint.load, paths)
        if set(tensors) != set(tensors_too):
            found.append(f"{name}: other tensors")
        found += [f"{name}: {k}" for k in tensors if k in tensors_too and not torch.equal(tensors[k], tensors_too[k])]
        if meta["progress"] != meta_too["progress"]:
            found.append(f"{name}: progress")
    return found


def rows(folder: Path) -> list[dict]:
    """Every line as it stands: a reader that forgives would hide a row written twice."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _without_clock(row: dict) -> dict:
    return {key: value for key, value in row.items() if not key.startswith(CLOCK)}


def _last_line(folder: Path) -> str:
    lines = folder.with_suffix(".log").read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _installed(words: list[str]) -> bool:
    return all(find_spec(package) for word, package in NEEDS.items() if word in words)


if __name__ == "__main__":
    main()
