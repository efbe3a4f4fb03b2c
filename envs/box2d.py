"""Gymnasium's BipedalWalker with a physics world that ends with its episode.

Gymnasium keeps one for all episodes of an environment. Contacts of the episode before linger in it, so that an episode is
not determined by its seed and actions: no run of it could be resumed exactly, and evaluations of one policy differed.
"""

from typing import Any

import gymnasium


class FreshWorld(gymnasium.Wrapper):
    """The walker; every reset makes its physics world anew."""

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        walker: Any = self.env.unwrapped
        walker._destroy()
        walker.world = type(walker.world)()
        return super().reset(**given)


def fresh(env: gymnasium.Env) -> gymnasium.Env:
    """``env``, in a ``FreshWorld`` where it is such a walker."""
    is_one = any(kind.__module__ == "gymnasium.envs.box2d.bipedal_walker" for kind in type(env.unwrapped).__mro__)
    return FreshWorld(env) if is_one else env
