"""Play the policy of a checkpoint: ``python -m ppo.evaluate RUN [--stochastic] [--video FILE]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from envs.base import EnvError
from envs.fault import keep
from ppo.config.errors import one_line
from ppo.config.options import ConfigError, plain
from ppo.run import checkpoint
from ppo.run.artifact import located
from ppo.run.episodes import MAX_STEPS, SEED, check_seed, play
from ppo.run.film import check_path, film
from ppo.run.folder import import_from_here
from ppo.run.policy import Act, Policy, restored

__all__ = ["evaluate", "main", "play"]


def main(argv: list[str] | None = None) -> None:
    """Command line. Prints mean, standard deviation and number of episodes; exit code 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m ppo.evaluate", description="Play a run's policy: by default its most likely actions."
    )
    arguments(parser)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--video", type=Path, help="also write one episode to this .mp4 or .gif")
    args = parser.parse_intermixed_args(argv)  # words may come after options
    import_from_here()
    try:
        returns, lengths = evaluate(args)
    except (ConfigError, EnvError, checkpoint.CheckpointError, OSError) as error:
        sys.exit(fail(error))
    std = returns.std(ddof=min(1, len(returns) - 1))
    how = "sampled" if args.stochastic else "most likely"
    print(
        f"return {returns.mean():.2f} +- {std:.2f} (std), n = {len(returns)}, length {lengths.mean():.1f}, {how} actions"
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which policy is played, where, and how: what the commands that play one have in common."""
    parser.add_argument("run", type=Path, help="a run folder, or a checkpoint file")
    parser.add_argument("words", nargs="*", metavar="env.KEY=VALUE", help="another task than it was trained on")
    parser.add_argument("--checkpoint", default="latest", help="latest (default), best, or the name of a numbered one")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--stochastic", action="store_true", help="sampled actions, as train/return is measured with")
    parser.add_argument("--max-steps", type=int, default=MAX_STEPS, help="an episode that is longer has no end")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="let it name this package")


def checked(args: argparse.Namespace, *counts: str) -> Path:
    """The checkpoint that the arguments name. ConfigError where one of the ``counts`` is below 1 or the seed below 0,
    CheckpointError where there is no run."""
    for name in counts:
        if (given := getattr(args, name)) is not None and given < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {given}: must be at least 1")
    check_seed(args.seed, "--seed ")
    run = located(args.run)
    if not run.exists():
        raise checkpoint.CheckpointError(f"{run}: no such run or checkpoint")
    return checkpoint.find(run.absolute(), args.checkpoint)


def evaluate(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """(returns, lengths): rebuild the policy from its checkpoint and play it."""
    path, options = checked(args, "episodes", "max_steps"), env_options(args.words)
    if args.video:
        video = args.video.absolute()  # an environment may change the working directory
        check_path(video)
        with restored(path, 1, args.trust, device=args.device, **options | {"render_mode": "rgb_array"}) as policy:
            print(film(policy.envs, acting(policy, args), args.seed, video, max_steps=args.max_steps))
    with restored(path, args.episodes, args.trust, device=args.device, **options) as policy:
        return play(policy.envs, acting(policy, args), args.seed, args.episodes, max_steps=args.max_steps)


def acting(policy: Policy, args: argparse.Namespace) -> Act:
    """How the arguments ask the policy to act."""
    return policy.sampled(args.seed) if args.stochastic else policy


def env_options(words: Sequence[str]) -> dict[str, Any]:
    """{"effort": 1.0} of ["env.effort=1.0"]."""
    for word in words:
        if not word.startswith("env.") or "=" not in word:
            raise ConfigError(f"{word}: write env.KEY=VALUE; nothing else can be changed of a policy that is played")
    try:
        return plain(OmegaConf.from_dotlist(list(words))).get("env", {})
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{' '.join(words)}: {str(error).splitlines()[0]}") from error


def fail(error: Exception) -> int:
    """Say the error in one line; the exit code."""
    keep(error)
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
