"""Demonstrations, cloned beside what is learned by reward. Each option is one function

    (observations, actions, squashed) -> Demo | None

observations, actions: the spaces that they must fit. squashed: whether action=tanh, which is then undone.
The loss is ``... - coef * log pi(action | obs)``, its mean over demonstrated pairs, one drawn for each sample.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from annotated_types import Gt
from gymnasium.spaces import Box
from torch import Tensor

from envs.action import untanh
from envs.base import ActionSpace
from ppo.buffer.data import Pairs
from ppo.config.extras import needs
from ppo.config.options import ConfigError
from ppo.control.progress import Progress
from ppo.network.normaliser import ObsNormaliser
from ppo.network.shared import takes

FLOOR = 0.01  # of an adaptive coefficient


class Demo(NamedTuple):
    """Observations [D, O] as the environment gives them, actions [D, A] or [D] as the policy has them, and the weight."""

    obs: Tensor
    action: Tensor
    coef: float
    adaptive: bool

    def draw(self, generator: torch.Generator, normalise: ObsNormaliser, shape: tuple[int, ...]) -> Pairs:
        """Pairs of this leading shape, each drawn alone."""
        index = torch.randint(len(self.obs), shape, generator=generator)
        device = normalise.mean.device
        return Pairs(normalise(self.obs[index].to(device)), self.action[index].to(device))

    def next_coef(self, progress: Progress) -> float:
        """The weight of the next update. Adaptive: what would have made the last update's ratio to the PPO loss 1, at
        most ``coef`` and at least 0.01."""
        last, ratio = progress.last, progress.seen.demo_ratio
        if not self.adaptive or last is None or ratio == 0:
            return self.coef
        if ratio is None:  # no step was taken
            return last
        return min(self.coef, max(FLOOR, 0.0 if math.isnan(ratio) else last / ratio))


def none(observations: Box, actions: ActionSpace, squashed: bool) -> None:
    """No demonstrations."""
    return


def weighted(obs: Tensor, action: Tensor, *, coef: Annotated[float, Gt(0)], adaptive: bool) -> Demo:
    """Demonstrations and their weight.

    coef: the weight of the term. adaptive: lower it, down to 0.01, so that the term stays at most as large as the PPO
    loss.
    """
    return Demo(obs, action, coef, adaptive)


@takes(weighted=weighted)
def npz(
    observations: Box, actions: ActionSpace, squashed: bool, *, weighted: Callable[[Tensor, Tensor], Demo], path: str
) -> Demo:
    """An .npz file of two arrays, ``obs [D, O]`` and ``action [D, A]`` (Discrete: ``[D]``), as the environment has them.

    The other options are those of ``weighted``. Raises ConfigError where the file cannot be read or does not fit.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            obs, action = file["obs"], file["action"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:  # .npy, empty, torn
        reason = " ".join(str(error).split())
        raise ConfigError(f"demo.path={path}: cannot be read as .npz with obs and action ({reason})") from error
    return weighted(*_fitting(f"demo.path={path}", obs, action, observations, actions, squashed))


@takes(weighted=weighted)
def minari(
    observations: Box, actions: ActionSpace, squashed: bool, *, weighted: Callable[[Tensor, Tensor], Demo], dataset: str
) -> Demo:
    """A Minari data set that is on this machine (``minari download ID``). The other options are those of ``weighted``."""
    try:
        import minari as library
    except ImportError as error:
        raise ConfigError(needs("demo=minari", "minari")) from error
    try:
        episodes = list(library.load_dataset(dataset).iterate_episodes())
    except Exception as error:  # whatever the library raises for a data set it does not have
        reason = " ".join(str(error).split())
        raise ConfigError(f"demo.dataset={dataset}: Minari cannot load it ({reason})") from error
    parts = (x for e in episodes for x in (e.observations, e.actions))
    kinds = {type(x).__name__ for x in parts if isinstance(x, dict | list | tuple)}  # of composite spaces
    if kinds or not episodes:
        found = f"its observations or actions are {', '.join(sorted(kinds))}" if kinds else "it has no episode"
        raise ConfigError(f"demo.dataset={dataset}: {found}; arrays were expected")
    # An episode has one observation more than actions: the last one, on which nobody acted.
    obs = np.concatenate([np.asarray(e.observations)[: len(e.actions)] for e in episodes])
    action = np.concatenate([np.asarray(e.actions) for e in episodes])
    return weighted(*_fitting(f"demo.dataset={dataset}", obs, action, observations, actions, squashed))


def _fitting(
    where: str, obs: np.ndarray, action: np.ndarray, observations: Box, actions: ActionSpace, squashed: bool
) -> tuple[Tensor, Tensor]:
    """The pairs as the policy has them. Raises ConfigError where they do not fit these spaces."""
    needed = ((len(obs), *observations.shape), (len(obs), *(actions.shape or ())))
    if len(obs) == 0 or (obs.shape, action.shape) != needed:
        raise ConfigError(f"{where}: obs {obs.shape} and action {action.shape} do not fit the task's {needed}")
    if kinds := {str(x.dtype) for x in (obs, action) if x.dtype.kind not in "biuf"}:
        raise ConfigError(f"{where}: holds {', '.join(sorted(kinds))}; numbers were expected")
    if not (np.isfinite(obs).all() and np.isfinite(action).all()):
        raise ConfigError(f"{where}: holds numbers that are not finite")
    if not isinstance(actions, Box):
        whole, count = action.astype(np.int64), getattr(actions, "nvec", getattr(actions, "n", 0))
        exact, action = (whole == action).all(), whole - actions.start
        if not (exact and ((action >= 0) & (action < count)).all()):
            raise ConfigError(f"{where}: holds actions that are not among the {count} of the task")
    elif squashed:
        action = untanh(action, actions)
    stored = torch.from_numpy(action.astype(np.float32) if isinstance(actions, Box) else action)
    return torch.from_numpy(obs.astype(observations.dtype)), stored
