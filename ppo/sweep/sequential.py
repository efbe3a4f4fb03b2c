"""``+sweep=ab sequential=true``: add pairs of seeds until an always-valid comparison has its verdict, or none are left.

A round is the ordinary sweep over the next seeds, into the same folder, in a process of its own; then the pairs so far are
looked at (ppo.compare.sequential: looking costs nothing). It can be stopped at any time: the same command passes
through the finished rounds without running a cell, and comes to the same point.
"""

import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from ppo.compare.compare import PRIMARY, compare
from ppo.compare.load import load
from ppo.compare.sentence import CLOSED, SAME, number
from ppo.compare.trial import CompareError
from ppo.config.options import CONF, ConfigError
from ppo.run.folder import run_folders
from ppo.run.signals import SIGNALS
from ppo.sweep.callback import sweep_dir


class Plan(NamedTuple):
    """What is run and what is compared."""

    words: list[str]  # of the sweep, without its seeds
    folder: Path  # absolute, and the same in every round, whatever time it then is
    by: list[str]  # the factors that make the two arms
    seeds: list[int]  # all there may be: the budget
    pairs: int  # of seeds in a round


def plan(words: Sequence[str]) -> Plan:
    """From the words of the command line. Raises ConfigError where these are not two arms and several seeds."""
    (asked,) = [word for word in words if word.startswith("sequential=")]
    words = [word for word in words if word != asked]
    parser = OverridesParser.create()
    typed = parser.parse_overrides([word for word in words if not word.startswith("-")])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = [o.input_line for o in typed if o.input_line and not o.is_sweep_override()]
        cfg = compose("config", fixed, return_hydra_config=True)
    params = parser.parse_overrides([f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()])
    swept = {o.key_or_group: o for o in (*params, *typed)}
    values = {key: [*o.sweep_string_iterator()] for key, o in swept.items() if o.is_sweep_override()}
    seeds = [int(seed) for seed in values.pop("seed", ())]
    arms = math.prod(map(len, values.values()))
    if arms != 2 or not seeds:
        many = " x ".join(f"{len(v)} {key}" for key, v in values.items()) or "no arms"
        raise ConfigError(f"{asked}: compares two arms over several seeds, as +sweep=ab kl=exact,k1; this is {many}")
    words = [word for word in words if not word.startswith("seed=")]
    return Plan(words, Path(cfg.hydra.sweep.dir).absolute(), [*values], sorted(seeds), _pairs(asked))


def _pairs(asked: str) -> int:
    """``sequential=true``: as many pairs at a time as this machine has cores for; ``sequential=8``: eight."""
    value = asked.partition("=")[2]
    if value == "true":
        return max(1, (os.cpu_count() or 1) // 2)
    if not value.isdigit() or int(value) < 1:
        raise ConfigError(f"{asked}: must be true, or the number of pairs of seeds in a round")
    return int(value)


def run_until_decided(todo: Plan, launch: Callable[[list[int]], None], say: Callable[[str], None]) -> dict | None:
    """Rounds of ``launch(seeds)`` until the verdict; the last look at the pair. Raises CompareError where the runs must
    not be compared."""
    pair = None
    for start in range(0, len(todo.seeds), todo.pairs):
        seeds = todo.seeds[start : start + todo.pairs]
        if not _finished(todo.folder, seeds):
            launch(seeds)
        pair = look(todo, todo.seeds[: start + todo.pairs])
        if pair["verdict"] == SAME:
            break
        test = pair["sequential"]
        low, high = map(number, test["ci"])
        say(
            f"{test['n']} pairs: {pair['a']} - {pair['b']} = {number(pair['difference'])} "
            f"({low} to {high}), p = {number(test['p'])}: {pair['verdict']}"
        )
        if pair["verdict"] in CLOSED:
            break
    return pair


def look(todo: Plan, seeds: Sequence[int]) -> dict:
    """The comparison of the two arms over these seeds, decided by the always-valid test."""
    trials = [trial for trial in load([todo.folder]) if trial.seed in seeds]
    rows = compare(trials, by=todo.by, sequential=True).verdict["pairs"]
    endpoint = next((name for name in PRIMARY if any(row["endpoint"] == name for row in rows)), None)
    found = [row for row in rows if row["endpoint"] == endpoint]
    if len(found) != 1:
        raise CompareError(f"{todo.folder}: holds other runs than those of two arms of {','.join(todo.by)}")
    return found[0]


def _finished(folder: Path, seeds: Sequence[int]) -> bool:
    done = [trial.seed for trial in (load([folder]) if run_folders(folder) else ()) if not trial.failed]
    return all(done.count(seed) == 2 for seed in seeds)


def in_child(command: Sequence[str]) -> int:
    """Run ``command`` to its end; its exit code. What asks this process to end asks the child, which ends in its own time; then
    SystemExit, as of the signal."""
    asked: list[int] = []
    with subprocess.Popen(command) as child:

        def pass_on(number: int, frame: object) -> None:
            asked.append(number)
            child.send_signal(number)

        before = {number: signal.signal(number, pass_on) for number in SIGNALS}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if asked:
        sys.exit(128 + asked[0])
    return code


def main(words: Sequence[str]) -> int:
    """Run and compare; the exit code of the last round that failed, else 0."""
    todo = plan(words)
    code = 0

    def launch(seeds: list[int]) -> None:
        nonlocal code
        command = [sys.executable, "-m", "ppo.train", *todo.words, sweep_dir(todo.folder)]
        command += [f"seed={','.join(map(str, seeds))}"]
        code = in_child(command) or code
        if code not in (0, 1):  # 1: some cells failed, and count as the lowest return
            sys.exit(code)

    try:
        pair = run_until_decided(todo, launch, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("stopped; the same command resumes here", file=sys.stderr)
        return 130
    except CompareError as error:
        raise ConfigError(str(error)) from error
    if pair:
        print(pair["sentence"])
        command = ["python", "-m", "ppo.compare", str(todo.folder), "--by", ",".join(todo.by), "--sequential"]
        print(shlex.join(command))
    return code
