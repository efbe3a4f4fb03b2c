"""Deterministic evaluation: while training, and of a checkpoint by ``python -m ppo.evaluate RUN [--video FILE]``."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from yaml import YAMLError

from envs.base import EnvError, VectorEnv
from envs.fault import keep
from ppo.config.options import ConfigError, plain, strategy
from ppo.network.acting import one_thread
from ppo.run import checkpoint, ranks
from ppo.run.assemble import Parts
from ppo.run.policy import Policy, deterministic, restored
from ppo.run.state import State


@torch.no_grad()
@one_thread()
def play(
    envs: VectorEnv,
    act: Callable[[Tensor], np.ndarray],
    seed: int,
    each_step: Callable[[], None] = lambda: None,
    *,
    patience: int = 100_000,
) -> tuple[np.ndarray, np.ndarray]:
    """(returns, lengths) of one episode in every sub-environment; ``act(obs [N, O])`` is what the world receives.

    One episode each, and all of them count: taking the first N episodes to end would favour short ones. EnvError where
    an episode has no end after ``patience`` steps.
    """
    obs = torch.tensor(envs.reset(seed))
    returns, lengths = np.full(envs.num_envs, np.nan), np.zeros(envs.num_envs, dtype=np.int64)
    each_step()
    steps = 0
    while (lengths == 0).any():
        if (steps := steps + 1) > patience:
            raise EnvError(f"{envs.name}: an episode of {patience:,} steps has no end; the task needs a time limit")
        step = envs.step(act(obs))
        new = (step.terminated | step.truncated) & (lengths == 0)
        returns[new], lengths[new] = step.episode_return[new], step.episode_length[new]
        obs = torch.tensor(step.obs)
        each_step()
    return returns, lengths


class Evaluation:
    """Evaluations during training, in environments of their own; a context manager that closes these."""

    def __init__(self, cfg: DictConfig):
        self._cfg = cfg
        self._envs: VectorEnv | None = None

    def __enter__(self) -> "Evaluation":
        return self

    def __exit__(self, *_) -> None:
        if self._envs is not None:
            self._envs.close()

    def when_due(self, state: State, parts: Parts, steps: int) -> tuple[State, dict[str, float]]:
        """Evaluate if one of the last ``steps`` environment steps was due, or training is over."""
        every, episodes = self._cfg.eval.every, self._cfg.eval.episodes
        due = every > 0 and state.env_steps // every > (state.env_steps - steps) // every
        if not ranks.first() or episodes == 0 or not (due or state.env_steps >= self._cfg.total_steps):
            return state, {}
        began = time.perf_counter()
        if self._envs is None:
            self._envs = strategy("env", self._cfg.env, self._cfg.trust)(episodes, min(self._cfg.workers, episodes))
        act = deterministic(parts.network, parts.normaliser(state.obs_moments), parts.to_world, parts.flat.device)
        returns, lengths = play(self._envs, act, self._cfg.eval.seed)
        mean = float(returns.mean())
        best = mean if state.best is None else max(state.best, mean)
        return state._replace(best=best), {
            "eval/return": mean,
            "eval/std": float(returns.std(ddof=min(1, len(returns) - 1))),
            "eval/length": float(lengths.mean()),
            "eval/episodes": len(returns),
            "eval/best": best,
            "time/eval": time.perf_counter() - began,
        }


def main(argv: list[str] | None = None) -> None:
    """Command line. Prints mean, standard deviation and number of episodes; exit code 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m ppo.evaluate", description="Play a run's policy deterministically."
    )
    parser.add_argument("run", type=Path, help="a run folder, or a checkpoint file")
    parser.add_argument("words", nargs="*", metavar="env.KEY=VALUE", help="another task than it was trained on")
    parser.add_argument("--checkpoint", default="latest", help="latest (default), best, or the name of a numbered one")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--video", type=Path, help="also write one episode to this .mp4 or .gif")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="let it name this package")
    args = parser.parse_intermixed_args(argv)  # words may come after options
    try:
        if args.episodes < 1:
            raise ConfigError(f"--episodes {args.episodes}: must be at least 1")
        if not args.run.exists():
            raise checkpoint.CheckpointError(f"{args.run}: no such run or checkpoint")
        returns, lengths = evaluate(args)
    except (ConfigError, EnvError, checkpoint.CheckpointError) as error:
        sys.exit(_fail(error))
    std = returns.std(ddof=min(1, len(returns) - 1))
    print(f"return {returns.mean():.2f} +- {std:.2f} (std), n = {len(returns)}, length {lengths.mean():.1f}")


def evaluate(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rebuild the policy from its checkpoint and play it."""
    path, options = checkpoint.find(args.run, args.checkpoint), _options(args.words)
    if args.video:
        with restored(path, 1, args.trust, device=args.device, **options | {"render_mode": "rgb_array"}) as policy:
            _film(policy, seed=args.seed, path=args.video)
    with restored(path, args.episodes, args.trust, device=args.device, **options) as policy:
        return play(policy.envs, policy, args.seed)


def _options(words: Sequence[str]) -> dict[str, Any]:
    """{"effort": 1.0} of ["env.effort=1.0"]."""
    for word in words:
        if not word.startswith("env.") or "=" not in word:
            raise ConfigError(f"{word}: write env.KEY=VALUE; nothing else can be changed of a policy that is played")
    try:
        return plain(OmegaConf.from_dotlist(list(words))).get("env", {})
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{' '.join(words)}: {str(error).splitlines()[0]}") from error


def _film(policy: Policy, *, seed: int, path: Path, fps: int = 30) -> None:
    """One episode as a video, 30 frames a second of wall-clock whatever the environment's step."""
    try:
        import imageio.v3 as imageio
    except ImportError as error:
        raise ConfigError("--video needs imageio: pip install 'proximal[video]'") from error
    if path.suffix not in (".mp4", ".gif"):
        raise ConfigError(f"--video {path}: the file must end in .mp4 or .gif")
    frames: list[np.ndarray] = []
    play(policy.envs, policy, seed, lambda: frames.append(policy.envs.render()))
    path.parent.mkdir(parents=True, exist_ok=True)
    pace: dict[str, Any] = {"fps": fps} if path.suffix == ".mp4" else {"duration": 1000 / fps, "loop": 0}
    imageio.imwrite(path, np.stack(frames), **pace)
    print(f"video: {path} ({len(frames)} frames)")


def _fail(error: Exception) -> int:
    keep(error)
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
