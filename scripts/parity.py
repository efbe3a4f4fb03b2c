"""Our Bullet tasks against pybullet-envs-gymnasium, step by step: ``python scripts/parity.py [task ...]``.

Two things of the reference depend on what it did before, and are set aside for the comparison:

- In the first episode of an environment object the floor is not yet among the robot's parts, so that its first reward
  is off. The comparison begins with its second episode.
- Its reset does not forget in which order shapes met, which decides the order of contacts in Bullet's solver and shows
  on the humanoid. The comparison makes it forget; the last column shows it as it is.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import envs  # noqa: F401 - registers ours

TASKS = {  # our option -> gymnasium id of both: ours is envs/<id>, the reference's <id with Env before the version>
    "hopper": "HopperBullet-v0",
    "walker2d": "Walker2DBullet-v0",
    "halfcheetah": "HalfCheetahBullet-v0",
    "ant": "AntBullet-v0",
    "humanoid": "HumanoidBullet-v0",
    "inverted_pendulum": "InvertedPendulumBullet-v0",
    "inverted_pendulum_swingup": "InvertedPendulumSwingupBullet-v0",
    "inverted_double_pendulum": "InvertedDoublePendulumBullet-v0",
    "reacher": "ReacherBullet-v0",
}


class Parity(NamedTuple):
    """One comparison."""

    episodes: int
    obs: float  # largest difference
    reward: float  # largest difference
    ends: int  # steps of which only one side said that they end the episode


def our(task: str) -> Any:
    """Our environment without the clock."""
    return gymnasium.make(f"envs/{TASKS[task]}", disable_env_checker=True).unwrapped


def reference(task: str) -> Any:
    """The reference environment without the clock, connected with DIRECT: its default may hang for ever."""
    import pybullet
    import pybullet_envs_gymnasium.env_bases as bases
    from pybullet_utils.bullet_client import BulletClient

    direct: Any = partial(BulletClient, connection_mode=pybullet.DIRECT)
    vars(bases)["bullet_client"] = SimpleNamespace(BulletClient=direct)
    env = gymnasium.make(TASKS[task].replace("-v0", "Env-v0"), disable_env_checker=True).unwrapped
    env.reset()
    return env


def first_reward_gap(task: str, *, seed: int = 0) -> float:
    """By how much the reference's first reward differs between its first and its second episode from the same seed."""
    env = reference(task)
    env.close()
    env.__init__()
    rewards = []
    for _ in range(2):
        env.reset(seed=seed)
        rewards.append(env.step(np.zeros(env.action_space.shape, np.float32))[1])
    env.close()
    return abs(rewards[0] - rewards[1])


def compare(task: str, steps: int, *, seed: int = 0, clock: int = 300, forget: bool = True) -> Parity:
    """The same actions on both sides; episodes are cut after ``clock`` steps."""
    ours, theirs = our(task), reference(task)
    rng = np.random.default_rng(seed)
    obs_gap = reward_gap = 0.0
    ends = episodes = 0
    done, since = True, 0
    for step in range(steps):
        if done or since == clock:
            if forget:
                _forget(theirs)
            first = seed if step == 0 else None
            obs_gap = max(obs_gap, _gap(ours.reset(seed=first)[0], theirs.reset(seed=first)[0]))
            episodes, since = episodes + 1, 0
        action = rng.uniform(-1.2, 1.2, ours.action_space.shape).astype(np.float32)  # past the bounds: both limit it
        obs, reward, done, *_ = ours.step(action)
        obs_, reward_, done_, *_ = theirs.step(action)
        obs_gap, reward_gap = max(obs_gap, _gap(obs, obs_)), max(reward_gap, abs(reward - reward_))
        ends += done != done_
        since += 1
    ours.close()
    theirs.close()
    return Parity(episodes, obs_gap, reward_gap, ends)


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


def _forget(env: Any) -> None:
    for body in range(env._p.getNumBodies()):
        env._p.setCollisionFilterPair(body, body, 1000, 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="task", help=", ".join(TASKS))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("Largest differences over random actions; 0 is bitwise equality.\n")
    table = "| {:<26} | {:>5} | {:>8} | {:>11} | {:>7} | {:>4} | {:>27} | {:>26} |"
    heads = (
        "task",
        "steps",
        "episodes",
        "observation",
        "reward",
        "ends",
        "reference's 1st reward off",
        "observation, ref. as it is",
    )
    print(table.format(*heads), table.format(*["-" * 3] * len(heads)), sep="\n", flush=True)
    for task in options.tasks:
        row = compare(task, options.steps, seed=options.seed)
        as_is = compare(task, options.steps, seed=options.seed, forget=False)
        first = first_reward_gap(task, seed=options.seed)
        figures = [f"{figure:.1e}" for figure in (row.obs, row.reward, first, as_is.obs)]
        print(table.format(task, options.steps, row.episodes, *figures[:2], row.ends, *figures[2:]), flush=True)


if __name__ == "__main__":
    main()
