"""Does a long run, or a process that trains run after run, keep anything it should give back?

``python scripts/soak.py updates --minutes 10``: one run of small updates, looked at from outside once a second.
``python scripts/soak.py runs --runs 20 env=ant``: whole runs, one after the other in one process, looked at after each.
Words are those of ppo.train. Prints memory (MiB/h, least squares over the second half), file handles and threads; the
exit code is 1 where handles or threads grew, or memory by more than ``--limit``.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
SMALL = ["logger=none", "num_envs=4", "num_steps=16", "minibatch_size=32", "epochs=1", "workers=0", "eval.episodes=2"]


class Sample(NamedTuple):
    """What a process holds at a moment."""

    seconds: float  # since it was started
    memory: float  # MiB resident
    handles: int  # open files, pipes and sockets
    threads: int


def sample(pid: int | str, began: float) -> Sample | None:
    """Of the process ``pid``, or "self"; None where it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        pages = int((process / "statm").read_text().split()[1])
        handles, threads = (len([*(process / name).iterdir()]) for name in ("fd", "task"))
    except OSError:
        return None
    return Sample(time.monotonic() - began, pages * 4096 / 2**20, handles, threads) if threads else None


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least squares line through the second half, where caches and allocators have settled."""
    half = len(x) // 2
    return float(np.polyfit(x[half:], y[half:], 1)[0])


def one_run(minutes: float, words: list[str]) -> list[Sample]:
    """Train for ``minutes`` in a process of its own, then end it."""
    with tempfile.TemporaryDirectory() as folder:
        long = ["total_steps=1_000_000_000", "eval.every=64000", f"hydra.run.dir={folder}/run"]
        command = [sys.executable, "-m", "ppo.train", "env=probe", *SMALL, *long, *words]
        began, seen = time.monotonic(), []
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            while process.poll() is None and time.monotonic() - began < 60 * minutes:
                if found := sample(process.pid, began):
                    seen.append(found)
                time.sleep(1)
            ended = process.poll()
        finally:
            process.terminate()
            process.wait()
        if ended is not None:
            sys.exit(f"error: the run ended by itself, with exit code {ended}")
        rows = (Path(folder) / "run" / "metrics.jsonl").read_text().count("\n")
    print(f"{rows:,} updates in {seen[-1].seconds:,.0f} s")
    return seen


def many_runs(runs: int, words: list[str]) -> list[Sample]:
    """Train ``runs`` runs in this process."""
    sys.path.insert(0, str(ROOT))
    from hydra import compose, initialize_config_dir

    from ppo.logging.base import Run
    from ppo.train import train

    began, seen = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for run in range(runs):
            cfg = compose("config", ["env=probe", *SMALL, "total_steps=1280", f"seed={run}", *words])
            train(cfg, Run(Path(folder) / str(run), str(run), {}))
            gc.collect()
            found = sample("self", began)
            assert found is not None
            seen.append(found)
            print(
                f"run {run + 1}: {found.memory:.1f} MiB, {found.handles} handles, {found.threads} threads", flush=True
            )
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("updates", "runs"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--limit", type=float, help="MiB an hour, or a run; default 10 an hour, 1 a run")
    parser.add_argument("--json", type=Path, help="write every sample")
    args, words = parser.parse_known_args()
    seen = one_run(args.minutes, words) if args.what == "updates" else many_runs(args.runs, words)
    seconds, memory, handles, threads = (np.array(column, dtype=float) for column in zip(*seen, strict=True))
    if args.what == "updates":
        growth, unit, limit = slope(seconds / 3600, memory), "an hour", args.limit or 10.0
    else:
        growth, unit, limit = slope(np.arange(len(memory)), memory), "a run", args.limit or 1.0
    half = len(seen) // 2
    grew = [name for name, x in (("handles", handles), ("threads", threads)) if x[half:].max() > x[: half + 1].max()]
    print(f"memory {memory[half]:.1f} -> {memory[-1]:.1f} MiB, {growth:+.2f} MiB {unit} (second half)")
    print(f"handles {int(handles[half])} -> {int(handles[-1])}, threads {int(threads[half])} -> {int(threads[-1])}")
    if args.json:
        args.json.write_text(json.dumps([found._asdict() for found in seen]))
    return int(bool(grew) or growth > limit)


if __name__ == "__main__":
    sys.exit(main())
