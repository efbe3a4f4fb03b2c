"""``python -m ppo.doctor RUN``: what is wrong with a run, and what to type. ``--what-if``, ``--env``: see ``--help``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from gymnasium.spaces import Box
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from envs.base import EnvError, VectorEnv
from envs.device import hosted, make
from envs.fault import keep
from ppo.config.errors import one_line
from ppo.config.options import ConfigError, fit, plain, strategy
from ppo.config.schema import CONF
from ppo.doctor import environment, text
from ppo.doctor.diagnose import diagnose
from ppo.doctor.history import DoctorError, ending, load
from ppo.doctor.what_if import parse
from ppo.logging.base import lossy

WIDTH = 132  # columns of a pipe or a file, which have none of their own


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m ppo.doctor", description="What is wrong with a run; see docs/doctor.md."
    )
    p.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders")
    p.add_argument("--set", nargs="+", default=[], metavar="CHECK.NAME=VALUE", help="thresholds: learning_rate.kl=0.1")
    p.add_argument(
        "--what-if",
        nargs="+",
        metavar="KEY=VALUES",
        help="where other limits would have stopped: target_kl=0.01,0.02 kl=k3 stop=minibatch,epoch,rollback stop.factor=1",
    )
    p.add_argument("--env", nargs="+", metavar="WORD", help="examine an environment: ant, or gym env.id=Pendulum-v1")
    p.add_argument("--seconds", type=float, default=60.0, help="about how long --env may take (default 60)")
    return p


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0, for a run also where there are findings; 1 where an environment has a fault; 2 where what was
    asked for cannot be done."""
    lossy(sys.stdout, sys.stderr)
    args = parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        if args.env:
            name, make, config = environment_of(args.env)
            return environment.show(name, environment.examine(make, config, seconds=args.seconds), console)
        if not args.runs:
            raise DoctorError("nothing to examine: give a run folder, or --env NAME")
        for number, run in enumerate(args.runs):
            history = load(run)
            if number:
                console.print()
            if args.what_if:
                text.show_what_if(history, parse(args.what_if, history), console)
            else:
                findings = diagnose(history, thresholds=_thresholds(args.set))
                text.show(history, findings, ending(run), str(run), console)
    except (ConfigError, EnvError, HydraException, OmegaConfBaseException) as error:
        keep(error)
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def environment_of(words: list[str]) -> tuple[str, environment.Make, dict[str, Any]]:
    """["gym", "env.id=Pendulum-v1"] -> its name, what makes a vector of it, and the configuration it would be trained with.

    Raises what a wrong word raises.
    """
    first, *overrides = words
    words = [first if "=" in first else f"env={first}", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = fit(compose("config", words), words)
    build = strategy("env", cfg.env, cfg.trust)

    def made(num_envs: int) -> VectorEnv:
        return hosted(make(build, num_envs))

    envs = made(1)
    name, space = envs.name, envs.action_space
    envs.close()
    if not isinstance(space, Box):
        raise EnvError(f"{name}: its actions are {space}; only environments of continuous ones are examined")
    return name, made, plain(cfg)


def _thresholds(words: list[str]) -> dict[str, dict[str, float]]:
    """["learning_rate.kl=0.1"] -> {"learning_rate": {"kl": 0.1}}."""
    thresholds: dict[str, dict[str, float]] = {}
    for word in words:
        key, _, value = word.partition("=")
        check, _, name = key.partition(".")
        try:
            thresholds.setdefault(check, {})[name] = float(value)
        except ValueError:
            raise DoctorError(f"--set {word}: expected CHECK.NAME=NUMBER") from None
    return thresholds


if __name__ == "__main__":
    sys.exit(main())
