"""What an environment's ``metadata`` says, where anything may be, or nothing."""

import operator

import gymnasium

from envs.base import EnvError


def fps(env: gymnasium.Env) -> float | None:
    """Pictures a second; None where it does not say."""
    try:
        fps = float(env.metadata["render_fps"])
    except Exception:  # anything may be there, or nothing
        return None
    return fps if 0 < fps < float("inf") else None


def columns(env: gymnasium.Env, size: int) -> dict[str, range]:
    """The names of columns that a box cannot have: ``metadata["columns"] = {"gyro": [0, 3], ...}``, first and end.

    EnvError, without a name, where they are not within the ``size`` columns of its observation.
    """
    said = getattr(env, "metadata", None)
    said = said.get("columns", {}) if isinstance(said, dict) else {}
    if env.observation_space != getattr(env.unwrapped, "observation_space", None):
        return {}  # a wrapper made another row of it: the names are of columns that are elsewhere now
    try:
        found = {str(name): range(*map(operator.index, ends)) for name, ends in said.items()}
    except (AttributeError, TypeError, ValueError):
        found = None
    if found is None or any(not columns or columns[-1] >= size or columns[0] < 0 for columns in found.values()):
        raise EnvError(
            f'its metadata["columns"] is {said}; needed is {{name: [first, end], ...}} within the {size} columns of its '
            "observation"
        )
    return found
