"""Any gymnasium environment with continuous observations and actions, by its id."""

from functools import partial
from typing import Any

import gymnasium

from envs.base import EnvError, Envs, VectorEnv
from envs.vector import vector


def gym(num_envs: Envs, workers: int, *, id: str, kwargs: dict[str, Any], render_mode: str | None) -> VectorEnv:
    """``gymnasium.make(id, **kwargs)``; ``id`` may be ``module:Name-v0``. Observations of several axes are flattened.

    gymnasium's own vector environments are not used: their default autoreset inserts a row whose action was ignored.
    """
    return vector(partial(_make, id, dict(kwargs), render_mode), num_envs, workers, id)


def mujoco(num_envs: Envs, workers: int, *, id: str, render_mode: str | None) -> VectorEnv:
    """A MuJoCo task of gymnasium: ``Hopper-v5``, ``Ant-v5`` ... (the older versions need bindings no longer made)."""
    if not id.endswith("-v5"):
        raise EnvError(f"{id}: env=mujoco takes the v5 tasks of gymnasium, such as HalfCheetah-v5; others by env=gym")
    return gym(num_envs, workers, id=id, kwargs={}, render_mode=render_mode)


def _make(id: str, kwargs: dict[str, Any], render_mode: str | None, index: int) -> gymnasium.Env:
    if render_mode is not None:  # an environment that never renders need not know the argument
        kwargs = kwargs | {"render_mode": render_mode}
    try:
        # The checker costs time in every step and says nothing that the vector does not check.
        return gymnasium.make(id, disable_env_checker=True, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(f"{id}: {error} (for MuJoCo tasks: pip install 'gymnasium[mujoco]')") from error
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        raise EnvError(f"{id}: gymnasium cannot make it: {' '.join(str(error).split())}") from error
