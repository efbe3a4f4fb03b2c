"""Steps per second of training, ours and the known frameworks' (peers), on the same workloads with the same recipe.

Every measurement is a fresh process; the programs take turns (A B C A B C ...), so that a slow minute of the machine
hits all of them. Counted is the wall-clock time of every iteration but the first, rollout to rollout: the first holds
imports, compilation and warm-up. Evaluation is left out, logging and checkpoints are counted.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ppo.logging.jsonl import read
from scripts.benchmarks.process import ROOT, Finished, run
from scripts.benchmarks.table import Row, Samples, fastest, rows, table
from scripts.benchmarks.workloads import WORKLOADS, Workload, pick

PEERS = {  # name and file of the adapter: what must be installed
    "sb3": "stable-baselines3",
    "cleanrl_form": "gymnasium",
    "skrl": "skrl",
    "rsl_rl": "rsl-rl-lib",
    "tianshou": "tianshou",
    "sb3_contrib": "sb3-contrib",
    "rejax": "rejax",
    "sbx": "sbx-rl",
    "rltools": "rltools",
}
REMEMBER = ("sb3_contrib",)  # peers of the workloads with memory, and of no other
WORLDS = ("torch", "gymnasium", "mujoco", "pybullet", "pybullet-envs-gymnasium")
OURS = "exactkl"
QUICK_SECONDS = 45  # a program that would start with less than the half minute below left is skipped
QUICK_LEAST = 6
TIMEOUT = 1800


class Sample(NamedTuple):
    """One measurement: steps per second, and the peak resident memory of the process and its children."""

    speed: float
    peak_mb: float | None


Measure = Callable[[Workload, int, float], Sample | str]  # (workload, iterations, time limit); text: why it failed


def bench(
    workloads: Sequence[Workload],
    measures: dict[str, Measure],
    *,
    repeats: int,
    iterations: int,
    deadline: float = float("inf"),
) -> Iterator[list[Row]]:
    """The rows of one workload after the other: speed and memory of each program in ``measures``."""
    for workload in workloads:
        taken: dict[str, list[Sample | None]] = {name: [] for name in measures}
        broken: set[str] = set()
        for turn in range(repeats):
            for name, measure in measures.items():
                left = min(TIMEOUT, deadline - time.monotonic())
                result: Sample | str | None = None
                if name not in broken:
                    result = measure(workload, iterations, left) if left > QUICK_LEAST else "no time left"
                if isinstance(result, str):
                    broken.add(name)
                    say(f"{workload.name}: {name} skipped: {result}")
                    result = None
                elif result:
                    say(f"{workload.name}: {turn + 1}/{repeats} {name} {result.speed:,.0f} steps/s")
                taken[name].append(result)
        speed: Samples = {n: [s and s.speed for s in x] for n, x in taken.items()}
        peak: Samples = {n: [s and s.peak_mb for s in x] for n, x in taken.items()}
        peer = fastest(speed, [name for name in measures if not name.startswith(OURS)], more_is_better=True)
        yield [
            *rows("train", workload.name, "step/s", speed, peer, more_is_better=True),
            *rows("memory", workload.name, "MB", peak, peer, more_is_better=False),
        ]


def ours(words: Sequence[str], threads: int) -> Measure:
    """Our own command line, with ``words`` added to the recipe."""

    def measure(w: Workload, iterations: int, timeout: float) -> Sample | str:
        with tempfile.TemporaryDirectory() as folder:
            steps = (iterations + 1) * w.batch  # the warm-up's rollout is no iteration
            fixed = (f"threads={threads}", f"hydra.run.dir={folder}/run", f"total_steps={steps}")
            done = run([sys.executable, "-m", "ppo.train", *recipe(w), *fixed, *words], limit(threads), timeout)
            if done.error:
                return done.error
            wall = [(row["time/wall"], row.get("time/eval", 0.0)) for row in read(Path(folder, "run", "metrics.jsonl"))]
        seconds = [float(end) - float(evaluated) - float(start) for (start, _), (end, evaluated) in zip(wall, wall[1:])]
        return Sample(w.batch * len(seconds) / sum(seconds), done.peak_mb)

    return measure


def recipe(w: Workload) -> list[str]:
    """The workload in our words. Compiled always: these runs are too short for compile=auto."""
    words = {
        "logger": "none",
        "compile": "true",
        "eval.episodes": 0,
        "norm": "minibatch",
        "stop": "none",  # every program takes every step
        "target_kl": "null",
        "num_envs": w.num_envs,
        "num_steps": w.num_steps,
        "epochs": w.epochs,
        "minibatch_size": w.minibatch,
        "gae_lambda": w.lam,
        "lr.value": w.lr,
        "clip.eps": w.clip,
        "network.actor": json.dumps(w.hidden),
        "network.critic": json.dumps(w.hidden),
        "network.activation": w.activation,
        "network.orthogonal": w.orthogonal,
        "network.log_std": w.log_std,
        "network.log_std_min": -10,  # as good as none, which is what the peers have
    }
    if w.memory:
        words = {"network": "gru", "network.hidden": w.memory, "network.chunk": w.chunk} | words
    return [*w.ours, *(f"{key}={value}" for key, value in words.items())]


def peer(name: str, python: str, threads: int) -> Measure:
    """The adapter ``peers/NAME.py``, run by the interpreter ``python``."""

    def measure(w: Workload, iterations: int, timeout: float) -> Sample | str:
        if bool(w.memory) != (name in REMEMBER):
            return "trains policies without memory only" if w.memory else "trains policies with memory only"
        words = (json.dumps(w._asdict()), str(iterations), str(threads))
        done = run([python, "-m", f"scripts.benchmarks.peers.{name}", *words], limit(threads), timeout)
        return done.error or _sample(w, done)

    return measure


def _sample(w: Workload, done: Finished) -> Sample | str:
    lines = [line for line in done.out.splitlines() if line.startswith('{"seconds"')]
    seconds = json.loads(lines[-1])["seconds"][1:] if lines else []
    return Sample(w.batch * len(seconds) / sum(seconds), done.peak_mb) if seconds else "it told no times"


def limit(threads: int) -> dict[str, str]:
    """As many threads for every library that would otherwise take all cores."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def installed(python: str, distributions: Sequence[str]) -> dict[str, str | None]:
    """Their versions as the interpreter ``python`` sees them."""
    code = "import json, sys; from scripts.benchmarks.table import versions; print(json.dumps(versions(*sys.argv[1:])))"
    done = subprocess.run([python, "-c", code, *distributions], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def say(text: str) -> None:
    """Progress and what was skipped: to the terminal, not into the table."""
    print(text, file=sys.stderr, flush=True)


def options(parser) -> None:
    parser.add_argument("--workloads", help=f"default: all; from {', '.join(WORKLOADS)}")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s; '' for none")
    parser.add_argument("--variant", action="append", default=[], metavar="'WORDS'", help="measure ours with these too")
    parser.add_argument("--threads", default="1", help="threads of each program; 1,2 measures each with both")
    parser.add_argument("--iterations", type=int, default=5, help="of each measurement; the first is not counted")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")


def main(args) -> Iterator[list[Row]]:
    """The rows of each workload as soon as they are known; prints versions first and a table after each."""
    began = time.monotonic()
    chosen = pick(args.workloads or ("W1" if args.quick else ",".join(WORKLOADS)), WORKLOADS)
    wanted = pick(args.peers, PEERS)
    has = installed(args.python, [*WORLDS, *PEERS.values()])
    print("peers: " + ", ".join(f"{name} {version}" for name, version in has.items() if version))
    threads = [int(n) for n in args.threads.split(",")]
    measures: dict[str, Measure] = {}
    for n in threads:
        suffix = f", {n} threads" if n > 1 else ""
        for words in ("", *args.variant):
            measures[f"{OURS} {words}".strip() + suffix] = ours(words.split(), n)
        for name, distribution in wanted.items():
            if has[distribution]:
                measures[name + suffix] = peer(name, args.python, n)
            else:
                say(f"{name} skipped: {args.python} has no {distribution}")
    repeats, iterations, deadline = args.repeats or 5, args.iterations, float("inf")
    if args.quick:
        repeats, iterations, deadline = 1, 3, began + QUICK_SECONDS
        chosen = {
            name: w._replace(num_steps=max(w.num_steps // 4, w.minibatch // w.num_envs)) for name, w in chosen.items()
        }
        print("quick: rollouts of a quarter of the length, one repetition: the order of magnitude, no comparison")
    for made in bench(list(chosen.values()), measures, repeats=repeats, iterations=iterations, deadline=deadline):
        print("\n" + table(made), flush=True)
        yield made
