"""``env=batched``: thousands of worlds at once, where the learner is."""

from typing import Literal, cast

import torch

from envs.base import Envs, VectorEnv
from envs.batched.cartpole import CartPoleSwingUp
from envs.batched.pendulum import Pendulum
from envs.batched.reacher import Reacher
from envs.batched.task import Task
from envs.batched.world import Batched

Name = Literal["pendulum", "cartpole_swingup", "reacher"]
TASKS: dict[str, type[Task]] = {task.name: task for task in (Pendulum, CartPoleSwingUp, Reacher)}


def batched(num_envs: Envs, workers: int, device: torch.device, *, task: Name) -> VectorEnv:
    """Worlds of a task by name, see ``TASKS``; one program steps them all, whatever ``workers`` says."""
    return cast(VectorEnv, Batched(TASKS[task](), num_envs, device))
