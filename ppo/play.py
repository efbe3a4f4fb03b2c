"""Watch a run's policy in a window: ``python -m ppo.play RUN``; ``ppo.evaluate --video`` films where there is no display."""

import argparse
import shlex
import sys
from pathlib import Path

from envs.base import EnvError
from envs.display import missing_display
from ppo.config.options import ConfigError
from ppo.evaluate import acting, arguments, checked, env_options, fail
from ppo.run import checkpoint
from ppo.run.artifact import is_one
from ppo.run.folder import import_from_here
from ppo.run.policy import restored
from ppo.run.watch import HELP, watch


def main(argv: list[str] | None = None) -> None:
    """Command line. Exit code 2 on bad input, and where there is no display."""
    parser = argparse.ArgumentParser(
        prog="python -m ppo.play", description="Watch a run's policy in a window.", epilog=HELP
    )
    arguments(parser)
    parser.add_argument("--episodes", type=int, help="so many; by default until q is typed")
    parser.add_argument("--speed", type=float, default=1.0, help="of real time: 0.25 is slow motion")
    args = parser.parse_intermixed_args(argv)  # words may come after options
    import_from_here()
    try:
        if not 0 < args.speed <= 1:
            raise ConfigError(f"--speed {args.speed:g}: must be above 0 and at most 1, real time")
        path = checked(args, "episodes", "max_steps")
        if why := missing_display():
            raise ConfigError(f"{why}; film instead: {in_place_of_a_window(args)}")
        options = env_options(args.words) | {"render_mode": "human"}
        with restored(path, 1, args.trust, device=args.device, **options) as policy:
            print(f"{policy.envs.name} after {policy.meta['progress']['env_steps']:,} steps; {HELP}", flush=True)
            limits = {"episodes": args.episodes, "speed": args.speed, "max_steps": args.max_steps}
            watch(policy.envs, acting(policy, args), args.seed, lambda line: print(line, flush=True), **limits)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ConfigError, EnvError, checkpoint.CheckpointError, OSError) as error:
        sys.exit(fail(error))


def in_place_of_a_window(args: argparse.Namespace) -> str:
    """The command that films the same episode, into the run folder; of what wandb keeps, into the current one."""
    folder = Path() if is_one(args.run) else args.run if args.run.is_dir() else args.run.parent
    words = ["python", "-m", "ppo.evaluate", str(args.run), *args.words]
    parser = argparse.ArgumentParser()
    arguments(parser)
    for name in ("checkpoint", "seed", "max_steps", "device"):
        if (given := getattr(args, name)) != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(given)]
    words += [word for name in args.trust for word in ("--trust", name)]
    words += ["--stochastic"] if args.stochastic else []
    return shlex.join([*words, "--episodes", "1", "--video", str(Path(folder, "videos", "play.mp4"))])


if __name__ == "__main__":
    main()
