"""What can go wrong with a run, done to real runs: ``python scripts/reliability.py [--repeats N] [--quick]``.

Each fault is injected into a training process at its third update; what must be said is checked; then the same command
is given again until the run is done, and the run is compared, to the bit, with one that nobody touched. Prints a table;
exit code 1 where a fault was not survived or an update was lost.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from ppo.run import checkpoint
from scripts.verify_resume import Started, differences, rows

WORDS = ["env=gym", "env.id=Pendulum-v1", "compile=false", "workers=1", "total_steps=5120"]
WORDS += ["rank_timeout=5", "env_timeout=60"]
AT = 3  # the update after which a fault comes


class Victim(NamedTuple):
    """A run that a fault is done to."""

    process: Started
    folder: Path
    others: Sequence[Started] = ()  # the other ranks

    @property
    def latest(self) -> Path:
        return checkpoint.find(self.folder)


class Fault(NamedTuple):
    name: str
    inject: Callable[[Victim], None]
    codes: tuple[int, ...]  # how the process may end
    says: str = ""  # what it must say
    again_says: str = ""  # what the next one must say
    mend: Callable[[Path], None] = lambda folder: None
    ranks: int = 1


def send(number: int) -> Callable[[Victim], None]:
    return lambda victim: victim.process.send(number)


def to_the_last_rank(number: int) -> Callable[[Victim], None]:
    """Of one that was stopped, the others end; then it does not matter any more."""

    def inject(victim: Victim) -> None:
        victim.others[-1].send(number)
        victim.process.wait()
        victim.others[-1].send(signal.SIGKILL)

    return inject


def to_a_worker(number: int) -> Callable[[Victim], None]:
    def inject(victim: Victim) -> None:
        pid = victim.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        workers = [child for child in children if b"envs.worker" in Path("/proc", child, "cmdline").read_bytes()]
        os.kill(int(workers[0]), number)

    return inject


def while_saving(victim: Victim) -> None:
    """Kill it while a checkpoint is half written."""
    while not any(victim.folder.glob("checkpoints/.latest*")):
        if victim.process.ended():
            return
    victim.process.send(signal.SIGKILL)


def then(change: Callable[[Path], None]) -> Callable[[Victim], None]:
    """Kill it, then do something to its latest checkpoint."""

    def inject(victim: Victim) -> None:
        victim.process.send(signal.SIGKILL)
        victim.process.wait()
        change(victim.latest)

    return inject


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tear_rows(latest: Path) -> None:
    with open(latest.parents[1] / "metrics.jsonl", "ab") as file:
        file.write(b'{"update": 99, "env_st')


def fill(victim: Victim) -> None:
    """Leave no byte free; only where the folder is a small file system of its own."""
    with contextlib.suppress(OSError), open(victim.folder.parent / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def unfill(folder: Path) -> None:
    (folder.parent / "filler").unlink()


def second(victim: Victim) -> None:
    """Start another process in the same folder, then let the first one finish."""
    with Started(victim.folder, WORDS) as other:
        if other.wait() != 2:
            victim.process.send(signal.SIGKILL)


ONE_BEFORE = "resuming from the one before"
LOST_RANK = "waits for another that ended or hangs"
FAULTS = [
    Fault("SIGTERM", send(signal.SIGTERM), (143,), "SIGTERM: finishing the update"),
    Fault("SIGINT (Ctrl-C)", send(signal.SIGINT), (130,), "SIGINT: finishing the update"),
    Fault("SIGUSR1 (Slurm)", send(signal.SIGUSR1), (138,), "SIGUSR1: finishing the update"),
    Fault("SIGKILL", send(signal.SIGKILL), (-9,)),
    Fault("SIGKILL while a checkpoint is written", while_saving, (-9, 0)),
    Fault("worker killed", to_a_worker(signal.SIGKILL), (0,), "was killed by SIGKILL (out of memory?)"),
    Fault("worker hung for a minute", to_a_worker(signal.SIGSTOP), (0,), "did not answer in time"),
    Fault("checkpoint torn", then(lambda path: os.truncate(path, path.stat().st_size // 2)), (-9,), "", ONE_BEFORE),
    Fault("checkpoint with one bit flipped", then(flip), (-9,), "", ONE_BEFORE),
    Fault("checkpoint deleted", then(Path.unlink), (-9,), "", ONE_BEFORE),
    Fault("last line of metrics torn", then(tear_rows), (-9,)),
    Fault("disk full", fill, (2,), "No space left on device; the checkpoint of update", mend=unfill),
    Fault("rank killed", to_the_last_rank(signal.SIGKILL), (2,), LOST_RANK, ranks=2),
    Fault("rank hung", to_the_last_rank(signal.SIGSTOP), (2,), LOST_RANK, ranks=2),
    Fault("second process in the folder", second, (0,), "another process is running there"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="times that each fault is injected (default 3)")
    parser.add_argument("--quick", action="store_true", help="each once, without the one that takes a minute")
    args = parser.parse_args()
    faults = [fault for fault in FAULTS if not (args.quick and "minute" in fault.name)]
    failed = False
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work, "whole")
        with Started(whole, WORDS) as process:
            if process.wait() != 0:
                sys.exit(f"error: the run that nobody touches failed: {_said(whole)}")
        print("| fault | injected | survived | updates lost |\n|---|---|---|---|", flush=True)
        for fault in faults:
            injected = survived = lost = 0
            for number in range(1 if args.quick else args.repeats):
                with place(Path(work, f"{faults.index(fault)}-{number}"), own=fault.inject is fill) as folder:
                    if folder is None:
                        break
                    problems = suffer(fault, folder)
                    injected += 1
                    different = [] if problems else differences(whole, folder)
                    lost += max(0, len(rows(whole)) - len(rows(folder)))
                    survived += not (problems or different)
                    for problem in problems + different:
                        print(f"{fault.name}: {problem}", file=sys.stderr, flush=True)
            failed |= survived < injected or lost > 0
            shown = f"{injected} | {survived} | {lost}" if injected else "not possible here | |"
            print(f"| {fault.name} | {shown} |", flush=True)
    sys.exit(failed)


@contextlib.contextmanager
def place(folder: Path, *, own: bool) -> Generator[Path | None, None, None]:
    """A folder for a run; ``own``: in a file system of two megabytes, which takes a Linux where one may mount, or None."""
    if not own:
        yield folder
        return
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        yield None
        return
    try:
        yield folder / "run"
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def started(folder: Path, ranks: int) -> Generator[list[Started], None, None]:
    """The run in ``folder``, by as many processes; the first rank first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    with contextlib.ExitStack() as all_end:
        yield [all_end.enter_context(Started(folder, WORDS, told | {"RANK": str(rank)})) for rank in range(ranks)]


def suffer(fault: Fault, folder: Path) -> list[str]:
    """Inject the fault, go on until the run is done; what was not as it must be."""
    problems = []
    with started(folder, fault.ranks) as (process, *others):
        while len(rows(folder)) < AT and not process.ended():
            time.sleep(0.01)
        fault.inject(Victim(process, folder, others))
        code = process.wait()
    said = _said(folder)
    if code not in fault.codes:
        problems.append(f"exit code {code}, expected {fault.codes}: {said[-300:]}")
    if fault.says not in said:
        problems.append(f"did not say {fault.says!r}: {said[-300:]}")
    fault.mend(folder)
    if code != 0:
        with started(folder, fault.ranks) as (process, *_):
            if process.wait() != 0:
                problems.append(f"did not go on: {_said(folder)[-300:]}")
    if fault.again_says not in _said(folder):
        problems.append(f"did not say {fault.again_says!r} when it went on")
    if "Traceback" in _said(folder):
        problems.append("a traceback instead of a line")
    left = [path.name for path in folder.glob("**/.*.safetensors.*")]
    return problems + [f"left {name} behind" for name in left] + _orphans()


def _orphans() -> list[str]:
    """Worker processes whose trainer is no more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if b"envs.worker" in path.read_bytes() and parent == 1:
                found.append(f"worker process {path.parent.name} lives on")
    return found


def _said(folder: Path) -> str:
    return folder.with_suffix(".log").read_text()


if __name__ == "__main__":
    main()
