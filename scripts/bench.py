"""Benchmarks: ``python scripts/bench.py train --peers sb3,cleanrl_form`` and ``python scripts/bench.py update``.

Prints tables of medians with the lowest and highest repetition; ``ratio`` is how many times as good as the fastest
peer, above 1 is better. The peers come with ``pip install -e '.[bench]'``, or from another environment by --python: tianshou
always, since its dependencies clash with ours.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a file, Python looks in scripts/ only

from scripts.benchmarks.table import machine, write

BENCHES = {  # a module of scripts/benchmarks: ``options(parser)`` and ``main(args)``, which yields lists of rows
    "train": "steps per second and memory of training, beside other frameworks",
    "update": "microseconds of a gradient step: the textbook loop, ours eager, ours compiled",
    "vecenv": "steps per second of rollout and update on worlds that live on a device, beside rsl_rl",
    "envs": "microseconds of an environment step and of a vector step, beside other implementations",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="bench", required=True)
    for name, about in BENCHES.items():
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--repeats", type=int, help="rounds, in each of which every program has its turn")
        command.add_argument("--quick", action="store_true", help="done within 50 seconds")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
        if name in sys.argv[1:2]:  # the others need not be imported
            module = importlib.import_module(f"scripts.benchmarks.{name}")
            module.options(command)
            command.set_defaults(main=module.main)
    args = parser.parse_args()
    print(machine())
    rows = []
    for more in args.main(args):
        rows += more
        if args.json:
            write(rows, args.json)  # each time, so that an interrupted benchmark leaves what it has


if __name__ == "__main__":
    main()
