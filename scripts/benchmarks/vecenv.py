"""Worlds on a device behind rsl_rl's VecEnv interface: steps per second of rollout and update, ours and rsl_rl's own runner.

The same pendulums and the same recipe for both, every measurement a fresh process, in turns. The first iteration, which
holds imports and compilation, is not counted. And what each says before its first step of an update: the KL between the policy
that acted and the one to be updated, which is 0 unless something moved in between.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ppo.logging.jsonl import read
from scripts.benchmarks.process import run
from scripts.benchmarks.table import Row, Samples, rows, table
from scripts.benchmarks.train import OURS, installed, limit, recipe, say
from scripts.benchmarks.workloads import Workload, pick

PEER = "rsl_rl"
TIMEOUT = 1800
_MAKE = ["env=vecenv", "env.make=scripts.benchmarks.pendulums.make", "trust=[scripts]", "env.random_start=true"]
_LIKE = ["network.std_type=scalar", "value=clipped", "coef.value=1.0", "coef.entropy=0.01", "max_grad_norm=1.0"]
_LIKE += ["norm=global", "lr=constant", "normalise.reward=false", "network.log_std_max=5", "workers=0", "adam.eps=1e-8"]


def _sized(name: str, num_envs: int) -> Workload:
    """24 steps, 5 epochs, 4 minibatches, ELU 128-128: the usual recipe of thousands of robots."""
    sizes = (num_envs, 24, 5, num_envs * 6)
    return Workload(name, "", [*_MAKE, *_LIKE], *sizes, [128, 128], activation="elu", orthogonal=False, lr=1e-3)


WORKLOADS = {w.name: w for w in (_sized("V256", 256), _sized("V4096", 4096))}


def like(w: Workload) -> list[str]:
    """The words of ``w``, advantages normalised over the whole rollout, as rsl_rl does it."""
    return [word for word in recipe(w) if word != "norm=minibatch"]


class Split(NamedTuple):
    """One measurement; speeds are medians over iterations, but for the first."""

    total: float  # steps/s of rollout and update together
    rollout: float  # steps/s
    update: float  # steps/s
    first_kl: float  # the largest of any update, the first one among them [nat]


Measure = Callable[[Workload, int], Split | str]


def ours(python: str, threads: int, device: str) -> Measure:
    """Our command line, run by the interpreter ``python``."""

    def measure(w: Workload, iterations: int) -> Split | str:
        with tempfile.TemporaryDirectory() as folder:
            words = [*like(w), f"device={device}", f"threads={threads}"]
            words += [f"hydra.run.dir={folder}/run", f"total_steps={(iterations + 1) * w.batch}"]
            done = run([python, "-m", "ppo.train", *words], limit(threads), TIMEOUT)
            if done.error:
                return done.error
            told = read(Path(folder, "run", "metrics.jsonl"))
        rollout, update, apart = (
            [float(row[name]) for row in told] for name in ("time/rollout", "time/update", "check/acting")
        )
        # Of the policy that acted, x sigma away: x^2 / 2 by the mean, x^2 by the deviation, at most and of one action.
        return split(w, rollout, update, [1.5 * x**2 for x in apart])

    return measure


def theirs(python: str, threads: int, device: str) -> Measure:
    """rsl_rl's runner, likewise."""

    def measure(w: Workload, iterations: int) -> Split | str:
        words = (json.dumps(w._asdict()), str(iterations), str(threads), device)
        done = run([python, "-m", "scripts.benchmarks.peers.rsl_rl_device", *words], limit(threads), TIMEOUT)
        if done.error:
            return done.error
        lines = [line for line in done.out.splitlines() if line.startswith('{"rollout"')]
        return split(w, *json.loads(lines[-1]).values()) if lines else "it told no times"

    return measure


def split(w: Workload, rollout: list[float], update: list[float], first_kl: list[float]) -> Split:
    both = [a + b for a, b in zip(rollout[1:], update[1:], strict=True)]
    total, collected, updated = (w.batch / median(seconds) for seconds in (both, rollout[1:], update[1:]))
    return Split(total, collected, updated, max(first_kl))


def options(parser) -> None:
    parser.add_argument("--workloads", help=f"default: all; from {', '.join(WORKLOADS)}")
    parser.add_argument("--threads", type=int, default=1, help="of each program")
    parser.add_argument("--device", default="cpu", help="where the worlds and the learners are")
    parser.add_argument("--iterations", type=int, default=10, help="of each measurement; the first is not counted")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has rsl_rl and what we need")


def main(args) -> Iterator[list[Row]]:
    """The rows of each workload as soon as they are known."""
    has = installed(args.python, ["torch", "rsl-rl-lib", "tensordict"])
    print(", ".join(f"{name} {version}" for name, version in has.items() if version))
    measures = {name: of(args.python, args.threads, args.device) for name, of in ((OURS, ours), (PEER, theirs))}
    if not has["rsl-rl-lib"]:
        say(f"{PEER} skipped: {args.python} has no rsl-rl-lib")
        del measures[PEER]
    for w in pick(args.workloads or ("V256" if args.quick else ",".join(WORKLOADS)), WORKLOADS).values():
        taken: dict[str, list[Split | None]] = {name: [] for name in measures}
        for turn in range(args.repeats or (1 if args.quick else 5)):
            for name, measure in measures.items():
                got = measure(w, 3 if args.quick else args.iterations)
                if isinstance(got, str):
                    say(f"{w.name}: {name} skipped: {got}")
                else:
                    say(f"{w.name}: {turn + 1} {name} {got.total:,.0f} steps/s, first KL {got.first_kl:.1e}")
                taken[name].append(got if isinstance(got, Split) else None)
        made = []
        for key in Split._fields:
            unit, speed = ("nat", False) if key == "first_kl" else ("step/s", True)
            samples: Samples = {name: [s and getattr(s, key) for s in got] for name, got in taken.items()}
            made += rows(key, w.name, unit, samples, PEER if speed else None, more_is_better=speed)
        print("\n" + table(made), flush=True)
        yield made
