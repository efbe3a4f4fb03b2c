"""Does everything run on this device? ``python scripts/check_device.py --device cuda``, on a machine that has one.

Every word of the groups that make an update trains for a few of them, eager and compiled, in a world of the host and in one on
the device; then a run is cut off and resumed, and the speed of thousands of worlds is measured. Ends in a table of what
failed, how far the first minibatch was from ratio 1, and how long an update took. Exit code 1 where anything failed, 2 where
there is no such device.
"""

import argparse
import math
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import ppo
from ppo.config.options import ConfigError, yamls
from ppo.run.build import torch_device

WORLDS = {
    "host": ["env=gym", "env.id=Pendulum-v1", "num_envs=8", "workers=0"],
    "device": ["env=batched", "env.task=pendulum", "num_envs=64"],
}
SMALL = ["logger=none", "num_steps=16", "epochs=2", "network.actor=[32]", "network.critic=[32]", "target_kl=0.01"]
SMALL += ["eval.episodes=2", "eval.every=0", "minibatch_size=64", "norm=minibatch", "threads=1"]
GROUPS = ("kl", "stop", "objective", "norm", "network", "project", "outer", "lr", "value", "penalty", "clip")
LEFT_OUT = {"network=categorical"}  # its actions are discrete, those of both worlds are not
ALSO = {  # what a word needs beside it
    "network=gru": ["network.hidden=16", "network.chunk=8"],
    "network=lstm": ["network.hidden=16", "network.chunk=8"],
    "lr=adaptive_kl_step": ["stop=none"],
    "match_kl=0.01": ["stop=none"],
}


class Tried(NamedTuple):
    """How one run went."""

    world: str
    word: str
    how: str  # eager or compiled
    failed: str  # why; "" where it did not
    ratio: float  # largest |log ratio| of a first minibatch
    acting: float  # between the policy that acted and the one that learns, in its deviations
    update: float  # seconds of the last update
    speed: float  # steps a second of the last iteration


def words() -> Iterator[str]:
    """Every word of the groups, one at a time; and the key that moves widths."""
    for group in GROUPS:
        yield from (f"{group}={name}" for name in yamls(group) if f"{group}={name}" not in LEFT_OUT)
    yield "match_kl=0.01"


def tried(world: str, word: str, how: str, *more: str) -> Tried:
    """A run of three updates with this word."""
    given = [*SMALL, *WORLDS[world], *ALSO.get(word, []), f"compile={str(how == 'compiled').lower()}"]
    given += [word, *more]
    count = next(int(x.partition("=")[2]) for x in reversed(given) if x.startswith("num_envs="))
    length = next(int(x.partition("=")[2]) for x in reversed(given) if x.startswith("num_steps="))
    folder = Path(tempfile.mkdtemp())
    try:
        rows = ppo.fit(*given, f"total_steps={4 * count * length}", folder=folder / "run").metrics.rows
        worst = {name: max(row[name] for row in rows) for name in ("check/first_log_ratio", "check/acting")}
        finite = all(math.isfinite(row[name]) for row in rows for name in ("kl/final", "loss/value"))
        failed = "" if finite and len(rows) == 3 else f"{len(rows)} updates, finite: {finite}"
        return Tried(world, word, how, failed, *worst.values(), rows[-1]["time/update"], rows[-1]["speed/total"])
    except Exception as error:  # whatever it is: that is what this script is for
        return Tried(world, word, how, f"{type(error).__name__}: {str(error).splitlines()[0][:90]}", *[math.nan] * 4)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def resumed(device: str) -> str:
    """Whether a run in a world on the device that was cut off resumes to the bit; "" where it does, else what differs."""
    from safetensors.torch import load_file

    given = [*SMALL, *WORLDS["device"], f"device={device}", "compile=false", "total_steps=5120"]
    with tempfile.TemporaryDirectory() as parent:
        whole, cut = Path(parent, "whole"), Path(parent, "cut")
        ppo.fit(*given, folder=whole)
        ppo.fit(*given, folder=cut, on_update=lambda row: row["update"] == 2)
        ppo.fit(f"resume={cut}")
        one, other = (load_file(x / "checkpoints" / "latest.safetensors") for x in (whole, cut))
    differ = [name for name in one if name not in other or not torch.equal(one[name], other[name])]
    return ", ".join(sorted(differ))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="words that contain this, such as kl=")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument(
        "--jobs", type=int, default=4, help="runs at once; the measurement at the end has the device alone"
    )
    parser.add_argument("--worlds", type=int, default=4096, help="of the last measurement; 0: none")
    args = parser.parse_args()
    try:
        torch_device(args.device)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    began, device = time.perf_counter(), f"device={args.device}"
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") and torch.cuda.is_available() else "processor"
    print(f"PyTorch {torch.__version__}, {args.device}: {name}", flush=True)
    hows = ("eager",) if args.eager else ("eager", "compiled")
    chosen = [word for word in words() if args.only in word]
    given = [(world, word, how, device) for word in chosen for world in WORLDS for how in hows]
    results = []
    # Beside each other: the runs are small, and most of their time is the host's. A process takes several, one after the other.
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        for result in pool.map(tried, *zip(*given, strict=True)):
            results.append(result)
            print(line(result), flush=True)
    if args.worlds:
        size = (f"num_envs={args.worlds}", "num_steps=32", "epochs=5", f"minibatch_size={8 * args.worlds}")
        for how in hows:
            results.append(tried("device", "norm=minibatch", how, device, *size, "eval.episodes=0"))
            print(f"{args.worlds:,} worlds x 32 steps, 5 epochs, 4 minibatches: {line(results[-1])}", flush=True)
    differ = resumed(args.device)
    print(f"resumed: {f'differs in {differ}' if differ else 'to the bit'}")
    failed = [result for result in results if result.failed]
    print(f"\n{len(results)} runs, {len(failed)} failed, {time.perf_counter() - began:.0f} s")
    for result in failed:
        print(line(result))
    return int(bool(failed or differ))


def line(result: Tried) -> str:
    """A row of the table."""
    world, word, how, failed, ratio, acting, update, speed = result
    numbers = f"|log ratio| {ratio:.1e}  acting {acting:.1e}  update {1e3 * update:8.1f} ms  {speed:10,.0f} steps/s"
    return f"{world:7s} {word:22s} {how:9s} {f'FAILED {failed}' if failed else numbers}"


if __name__ == "__main__":
    sys.exit(main())
