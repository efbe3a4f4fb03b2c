"""mjlab: robots in MuJoCo Warp, thousands of worlds on a GPU, or a few on the CPU."""

import difflib
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from typing import Annotated, Any, Literal, NoReturn, cast

import torch
from annotated_types import Gt
from torch import Tensor

from envs.base import EnvError, Envs, NoState, Step, VectorEnv, indices, say_once
from envs.device import marked
from envs.simulator import Simulator
from envs.vector import saying


def mjlab(
    num_envs: Envs,
    workers: int,
    device: torch.device,
    *,
    id: str,
    seconds: Annotated[float, Gt(0)] | None,
    random_start: bool,
    on_nonfinite: Literal["mask", "stop"],
    render_mode: Literal["rgb_array"] | None,
) -> VectorEnv:
    """mjlab's task ``id``, or ``MODULE:ID`` of a module that registers it.

    seconds: the time limit of an episode; None: the task's own. It truncates, so that values are bootstrapped.
    random_start: each first episode begins at a random place of its time limit, as mjlab's own training has it: otherwise
    all worlds run out of time in one step. Such first episodes are short, and counted in train/return as they are.
    on_nonfinite: what becomes of a world that gives a number that is not finite. ``mask``: it is reset, and nothing is
    learned of that sample; ``stop``: the run ends.
    """
    count, (module, _, task) = len(indices(num_envs)), id.rpartition(":")
    load, build = _library(id, module, device)

    def make(seed: int) -> Any:
        cfg = load(task)
        cfg.scene.num_envs, cfg.seed, cfg.auto_reset = count, seed, False  # so that the true last observation is seen
        cfg.episode_length_s = cfg.episode_length_s if seconds is None else seconds
        return build(cfg, device=str(device), render_mode=render_mode)

    return cast(VectorEnv, Mjlab(make, count, device, id, random_start=random_start, masks=on_nonfinite == "mask"))


def _library(id: str, module: str, device: torch.device) -> tuple[Callable[[str], Any], Callable[..., Any]]:
    """(configuration of a task by its name, what makes an environment of one)."""
    if device.type == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Warp, once imported, opens every GPU
    try:
        import warp

        warp.config.log_level = warp.LOG_WARNING  # below it, a line for each of a hundred kernels
        import mjlab.tasks  # noqa: F401  registers them
        from mjlab.envs import ManagerBasedRlEnv
        from mjlab.tasks.registry import list_tasks, load_env_cfg
    except ImportError as error:
        raise EnvError(
            "env=mjlab needs an extra: in an environment of its own, pip install -c constraints-mjlab.txt -e '.[mjlab]' "
            f"({error})"
        ) from error
    if module:
        try:
            import_module(module)
        except ImportError as error:
            raise EnvError(f"{id}: there is no module {module} on Python's path ({error})") from error

    def load(task: str) -> Any:
        known = list_tasks()
        if task not in known:
            near = difflib.get_close_matches(task, known, 3) or known
            raise EnvError(f"{id}: mjlab has no such task; did you mean {', '.join(near)}?")
        return load_env_cfg(task)

    return load, ManagerBasedRlEnv


class Mjlab(Simulator):
    """The simulation is left to reset no world by itself; the ended ones, and those that broke, are reset here, after their
    last observation was seen. To know which they are, a step waits for the device: the price, beside another forward pass
    in steps with an end.
    """

    NEEDS = ("num_envs", "action_manager", "step", "reset")

    def __init__(
        self,
        make: Callable[[int], Any],
        num_envs: int,
        device: torch.device,
        name: str,
        *,
        random_start: bool,
        masks: bool,
    ):
        self._seed_made, self._make_with = 0, make
        super().__init__(self._quietly, num_envs, device, name, random_start=random_start, masks=masks)
        self._steps = 0  # of all training: curricula are scheduled by it
        self._ready, self._first = False, True  # no step was made yet
        with _quiet(f"{name}: its first reset"):
            obs, _ = self._call("reset()", self._sim.reset)
        self._describe(obs, self._sim.action_manager.total_action_dim)
        self.fps = 1.0 / self._sim.step_dt

    def _quietly(self) -> Any:
        with _quiet(f"{self.name}: making it"):
            return self._make_with(self._seed_made)

    def reset(self, seed: int, *, first: int = 0) -> Tensor:
        """Start every world anew from ``seed``; ``obs [N, O]``. What is drawn once a world is made, such as friction, is
        drawn by ``seed`` as well: where there is such a thing, another one is made."""
        number = self._seed(seed, first)
        if "startup" in self._alive("reset").event_manager.available_modes and number != self._seed_made:
            self.close()
            self._seed_made = number
            self._sim = self._made()
        sim = self._sim
        with _quiet(f"{self.name}: reset()"):
            obs, _ = self._call("reset()", sim.reset, seed=number)
        sim.common_step_counter, sim._sim_step_counter = self._steps, self._steps * sim.cfg.decimation
        self._spread(number)
        self._begin()
        self._ready = True
        return self._groups.row("reset()", obs)

    def step(self, action: Tensor) -> Step:
        """Apply ``action [N, A]``; waits for the device once, to learn which episodes ended."""
        sim = self._alive("step")
        if not self._ready:
            raise EnvError(f"{self.name}: step() needs a reset() first")
        with _quiet(f"{self.name}: the first step") if self._first else nullcontext():
            groups, reward, terminated, truncated, extras = self._call("step()", sim.step, action.clone())
        self._first = False
        next_obs, terminated = self._groups.row("step()", groups), terminated.clone()
        reward, broken = marked(reward, next_obs)
        truncated = truncated & ~terminated
        if sim.cfg.is_finite_horizon:
            terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
        self._note(extras.get("log"))
        self._steps = sim.common_step_counter
        truncated = truncated | broken
        obs, ended = next_obs, (terminated | truncated).nonzero().squeeze(-1)
        if len(ended):
            groups, extras = self._call("reset()", sim.reset, env_ids=ended)
            obs = next_obs.clone()
            obs[ended] = self._groups.row("reset()", groups)[ended]
            self._note(extras.get("log"))
        return self._step(obs, reward, next_obs, terminated, truncated, broken)

    def state(self) -> dict[str, Tensor]:
        """The count of steps by which curricula are scheduled. The episodes are not in it: see ``set_state``."""
        say_once(f"{self.name}: {_INEXACT}; exact_resume=false resumes with new episodes, where the curricula were")
        return {"common_step_counter": torch.full((self.num_envs,), self._steps)}

    def set_state(self, state: dict[str, Tensor]) -> NoReturn:
        """Have the curricula go on where they were, from the next ``reset``; NoState, always."""
        if len(counter := state.get("common_step_counter", torch.zeros(0))):
            self._steps = int(counter[0])
        raise NoState(f"{self.name}: {_INEXACT}")


@contextmanager
def _quiet(what: str) -> Generator[None, None, None]:
    """Without the tables that it prints; and where ``what`` takes long, that is said."""
    with redirect_stdout(io.StringIO()), saying(f"{what} (where its kernels are not compiled yet, some minutes)"):
        yield


_INEXACT = "its simulation is not deterministic on a GPU and gives no state"
