"""``env=batched``: thousands of worlds at once, where the learner is."""

from typing import Literal, cast

import torch

from envs.base import Envs, VectorEnv
from envs.batched.cartpole import CartPoleSwingUp
from envs.batched.hopper import Hopper
from envs.batched.pendulum import Pendulum
from envs.batched.reacher import Reacher
from envs.batched.task import Task
from envs.batched.world import Batched

Name = Literal["pendulum", "cartpole_swingup", "reacher", "hopper"]
TASKS: dict[str, type[Task]] = {task.name: task for task in (Pendulum, CartPoleSwingUp, Reacher, Hopper)}


def batched(
    num_envs: Envs, workers: int, device: torch.device, *, task: Name, on_nonfinite: Literal["mask", "stop"]
) -> VectorEnv:
    """Worlds of a task by name, see ``TASKS``; one program steps them all, whatever ``workers`` says.

    on_nonfinite: what becomes of a world that gives a number that is not finite. ``mask``: its episode ends there, its next
    one begins, and nothing is learned of that sample; ``stop``: the run ends.
    """
    return cast(VectorEnv, Batched(TASKS[task](), num_envs, device, masks=on_nonfinite == "mask"))
