"""Stable-Baselines3's PPO with its own defaults, evaluated as our runs are, for a table beside them.

    python scripts/train_sb3.py --env Hopper-v5 --steps 500000 --seeds 1,2,3,4,5 --normalise --out outputs/sb3
    python scripts/train_sb3.py --env Hopper-v5 --steps 1000000 --like +experiment=cleanrl --out outputs/sb3

Writes a CSV a run, `env,arm,seed,step,return`, when it is finished; a run that is there is passed over. The arm is `sb3`,
or `sb3-normalised` with VecNormalize (observations and rewards) around the environment. Nothing else is set: every number
is the default of the installed release. With --like the arm is `sb3 WORDS`: the numbers of a run of ours with these words,
but for task, steps, seeds and evaluations; a switch that SB3 has not is refused. Adam's fused form and no checks of the
distributions' arguments save a sixth of the time; the weights are equal to 1e-9 after five updates.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a file, Python looks in scripts/ only

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from envs.base import seeds
from ppo.config.options import short
from ppo.config.schema import scalars
from ppo.logging.files import write_atomically
from scripts.benchmarks.peers.common import make
from scripts.benchmarks.same import Same, same
from scripts.results import as_csv

# The eps that SB3 gives Adam as long as nothing is given.
DEFAULT = Same(1, {"policy_kwargs": {"optimizer_kwargs": {"eps": 1e-5, "fused": True}}}, None)
OURS = scalars()["eval"]  # when, how often and from which seeds our runs are evaluated


class Evaluate(BaseCallback):
    """The mean return of the policy's most likely actions, every so many steps and at the end; statistics stand still."""

    def __init__(self, env: str, every: int):
        super().__init__()
        self.env, self.every, self.curve = make(env), every, []

    def _on_step(self) -> bool:
        if self.num_timesteps // self.every > len(self.curve):
            self.note()
        return True

    def _on_training_end(self) -> None:
        self.note()

    def note(self) -> None:
        returns = [self.episode(seed) for seed in seeds(OURS["seed"], OURS["episodes"])]
        self.curve.append((self.num_timesteps, float(np.mean(returns))))

    def episode(self, seed: int) -> float:
        obs, _ = self.env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            if isinstance(self.training_env, VecNormalize):
                obs = self.training_env.normalize_obs(obs)
            action, _ = self.model.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = self.env.step(action)
            total, ended = total + float(reward), terminated or truncated
        return total


def train(env: str, steps: int, seed: int, setting: Same, every: int) -> list[tuple[int, float]]:
    """(environment steps, return) of each evaluation."""
    worlds = DummyVecEnv([lambda: Monitor(make(env))] * setting.num_envs)
    worlds = worlds if setting.normalise is None else VecNormalize(worlds, **setting.normalise)
    evaluate = Evaluate(env, every)
    torch.distributions.Distribution.set_default_validate_args(False)
    PPO("MlpPolicy", worlds, seed=seed, device="cpu", **setting.ppo).learn(steps, callback=evaluate)
    return evaluate.curve


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", required=True, help="a gymnasium id; AntBulletEnv-v0 and its kind too")
    parser.add_argument("--steps", type=int, required=True, help="environment steps")
    parser.add_argument("--seeds", default="1,2,3,4,5", help="[%(default)s]")
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument("--normalise", action="store_true", help="with VecNormalize")
    recipe.add_argument("--like", metavar="'WORDS'", help="with the numbers of python -m ppo.train WORDS")
    parser.add_argument(
        "--every", type=int, default=OURS["every"], help="environment steps between evaluations [%(default)s]"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/sb3"), help="[%(default)s]")
    args = parser.parse_args(arguments)
    try:
        whose = [int(seed) for seed in args.seeds.split(",")]
        setting = same(args.like.split()) if args.like else DEFAULT._replace(normalise={} if args.normalise else None)
    except ValueError as error:  # a ConfigError is one
        print(f"error: {error}", file=sys.stderr)
        return 2
    if min(args.steps, args.every) < 1:
        print("error: --steps and --every must be at least 1", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    # An arm is one recipe: results of two sets of words must not meet under one name.
    arm = f"sb3 {args.like}" if args.like else "sb3-normalised" if args.normalise else "sb3"
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in whose:
        file = args.out / f"{short(f'{args.env}-{args.steps}-{arm}')}-{seed}.csv"
        if file.exists():
            print(f"{file}: is there, passed over", flush=True)
            continue
        curve = train(args.env, args.steps, seed, setting, args.every)
        steps, returns = np.array(curve).T
        write_atomically(file, as_csv({(args.env, arm, seed): (steps, returns)}))
        print(f"{file}: {curve[-1][1]:,.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
