"""``ppo.load``: a policy of a checkpoint, to act with, to evaluate, to film and to watch."""

import contextlib
import os
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from envs.base import EnvError
from envs.gym import check_maker, keep_made, let_go
from ppo.config.options import ConfigError
from ppo.run.artifact import located
from ppo.run.checkpoint import find
from ppo.run.checkpoint import load as read_checkpoint
from ppo.run.episodes import SEED, check_seed, play
from ppo.run.film import check_path, film
from ppo.run.folder import import_from_here
from ppo.run.policy import Act, restored, sampled
from ppo.run.policy import Policy as Restored
from ppo.run.watch import watch

Env = str | type[gymnasium.Env] | Callable[[], gymnasium.Env]


@contextlib.contextmanager
def threads_kept() -> Generator[None]:
    """A run sets PyTorch's number of threads; whoever called has another one."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Policy:
    """A policy of a checkpoint, its environment and its statistics beside it. ``close()`` it, use it in ``with``, or let go."""

    def __init__(self, path: Path, trust: Sequence[str], env: Callable[[], gymnasium.Env] | None = None):
        stack = ExitStack()
        self._options: dict[str, Any] = {}  # of the environment: its maker is kept, whoever comes to have its name
        name = name_in(read_checkpoint(path)[1].get("config") or {})
        if name is not None and (kept := keep_made(name, env)) is not None:
            stack.callback(let_go, kept)
            self._options["name"] = kept
        with threads_kept():
            policy = stack.enter_context(restored(path, 1, trust, **self._options))
        self.path, self.trust = path, tuple(trust)
        self._policy, self.close = policy, weakref.finalize(self, stack.close)
        self.name = policy.envs.name
        self.observation_space, self.action_space = policy.envs.observation_space, policy.envs.action_space

    def __enter__(self) -> "Policy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, obs: Any, *, stochastic: bool = False, seed: int | None = None) -> np.ndarray:
        """The action that the environment receives, for one observation [O] or a batch [N, O], as the environment gives
        them: the most likely one, or a sampled one (``seed``: of its noise; by default another one in every call).

        Raises ValueError where the policy has a memory: see ``step``.
        """
        if self._policy.network.memory_size:
            raise ValueError(f"{self.name}: this policy has a memory: action, memory = policy.step(obs, memory)")
        return self.step(obs, stochastic=stochastic, seed=seed)[0]

    def step(
        self, obs: Any, memory: Any = (), *, stochastic: bool = False, seed: int | None = None
    ) -> tuple[np.ndarray, Any]:
        """(action, memory): as a call, with what a policy with memory carries from one step of an episode to the next.

        memory: a row for each observation, as the step before gave it back; set it to 0 in rows where an episode begins,
        or give () where all do.
        """
        given = np.asarray(self._rows(obs), dtype=self.observation_space.dtype)
        size = self.observation_space.shape[0]
        if given.ndim not in (1, 2) or given.shape[-1] != size:
            raise ValueError(f"{self.name}: obs has shape {given.shape}, needed is [{size}] or [N, {size}]")
        rows = torch.from_numpy(np.atleast_2d(given))
        act: Act = self._policy
        if stochastic:
            seed = int(torch.randint(2**31, ()).item()) if seed is None else seed
            _, network, normalise, to_world, _ = self._policy
            act = sampled(network, normalise, to_world, len(rows), seed)
        before = np.asarray(memory, np.float32)
        wanted = (len(rows), self._policy.network.memory_size)
        if before.size and before.shape != wanted:
            raise ValueError(f"{self.name}: memory has shape {before.shape}, needed is {wanted} or ()")
        with torch.no_grad():
            action, memory = act(rows, torch.from_numpy(before) if before.size else ())
        taken = [self._policy.envs.given(row) for row in action]
        return taken[0] if given.ndim == 1 else np.stack(taken), np.asarray(memory)

    def _rows(self, obs: Any) -> Any:
        """The row of what the environment gives, of whatever space, or the rows of several; anything else as it is: rows,
        perhaps."""
        try:
            return self._policy.envs.row(obs)
        except EnvError:
            if isinstance(obs, Mapping | tuple):  # of a Dict or Tuple space: never rows
                raise
        try:
            return np.stack([self._policy.envs.row(one) for one in obs])
        except (EnvError, TypeError, ValueError):
            return obs

    def evaluate(self, episodes: int = 20, *, stochastic: bool = False, seed: int = SEED) -> np.ndarray:
        """The returns of so many episodes in environments of its own, made for this."""
        if episodes < 1:
            raise ConfigError(f"episodes={episodes}: must be at least 1")
        check_seed(seed)
        with self._anew(episodes) as policy:
            return play(policy.envs, _acting(policy, stochastic, seed), seed, episodes)[0]

    def film(self, path: str | os.PathLike, *, stochastic: bool = False, seed: int = SEED) -> str:
        """Write an episode to ``path``, an .mp4 or .gif (the extra ``video``); what was written, in words. Raises EnvError
        where the environment does not draw with ``render_mode="rgb_array"``."""
        file = Path(path).absolute()  # an environment may change the working directory
        check_path(file, "film")
        check_seed(seed)
        with self._anew(1, render_mode="rgb_array") as policy:
            return film(policy.envs, _acting(policy, stochastic, seed), seed, file)

    def watch(
        self, episodes: int | None = None, *, speed: float = 1.0, stochastic: bool = False, seed: int = SEED
    ) -> None:
        """Play in a window, in real time, until somebody types q; as ``python -m ppo.play`` does. Raises EnvError where there
        is no display."""
        check_seed(seed)
        with self._anew(1, render_mode="human") as policy:
            watch(policy.envs, _acting(policy, stochastic, seed), seed, print, episodes=episodes, speed=speed)

    @contextlib.contextmanager
    def _anew(self, episodes: int, **options: Any) -> Generator[Restored]:
        """In environments of its own; this policy, whatever the file holds by now."""
        _, network, normalise, _, _ = self._policy
        with threads_kept(), restored(self.path, episodes, self.trust, **self._options | options) as policy:
            yield policy._replace(network=network, normalise=normalise)

    def __repr__(self) -> str:
        steps = self._policy.meta["progress"]["env_steps"]
        return f"<policy for {self.name} after {steps:,} steps, {self.path}>"


def _acting(policy: Restored, stochastic: bool, seed: int) -> Act:
    return policy.sampled(seed) if stochastic else policy


def load(
    run: str | os.PathLike, *, checkpoint: str = "latest", env: Env | None = None, trust: Sequence[str] = ()
) -> Policy:
    """The policy of a run folder or checkpoint file, or of what wandb keeps (wandb:ENTITY/PROJECT/NAME:v0).

    checkpoint: latest, best, or the name of a numbered one. env: what makes its environment, where a run was trained in
    one of Python's that this process has not seen. trust: packages that the checkpoint may name. Raises CheckpointError,
    ConfigError, EnvError.
    """
    import_from_here()
    path = find(located(run).absolute(), checkpoint)
    if env is not None:
        name = name_in(read_checkpoint(path)[1].get("config") or {})
        if name is None or isinstance(env, str):
            raise ConfigError(f"env={env}: {path} was trained in an environment that its configuration names")
        check_maker(env)
    return Policy(path, trust, env)


def name_in(config: dict[str, Any]) -> str | None:
    """How a run knows its environment where that was one of Python's."""
    env = config.get("env")
    known = isinstance(env, dict) and env.get("_target_") == "envs.gym.python"
    return str(env["name"]) if known else None
