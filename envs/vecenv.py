"""Any simulator of many worlds that has the interface of rsl_rl's ``VecEnv``: Isaac Lab, Genesis, a lab's own."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor

from envs.base import EnvError, Envs, Step, VectorEnv, indices, say_once
from envs.device import marked
from envs.groups import check, kind
from envs.simulator import Simulator


def vecenv(
    num_envs: Envs,
    workers: int,
    device: torch.device,
    *,
    make: Callable[..., Any] | None,
    kwargs: dict[str, Any],
    bootstrap: Literal["last_obs", "final_obs"],
    random_start: bool,
    on_nonfinite: Literal["mask", "stop"],
) -> VectorEnv:
    """``make(num_envs, device=..., **kwargs)``: a function of a package of yours that makes the simulator.

    bootstrap: what an episode that a time limit ends is bootstrapped with. Where ``extras["final_obs"]`` is there, that: the
    true last observation. Where it is not, ``last_obs`` takes the one that was acted on, whose value rsl_rl takes too
    (off by a step), and ``final_obs`` ends the run.
    random_start: each first episode begins at a random place of its time limit (``episode_length_buf``).
    on_nonfinite: what becomes of a world that gives a number that is not finite. ``mask``: nothing is learned of its samples
    as long as it does so, and its clock is put to its time limit, so that the simulator resets it in the next step: the
    interface knows no reset of a single world. ``stop``: the run ends.
    """
    if make is None:
        raise EnvError(
            "env=vecenv: name what makes your simulator, a function (num_envs, device): env.make=mypackage.make trust=[mypackage]"
        )
    count = len(indices(num_envs))
    name = f"{getattr(make, '__module__', '')}.{getattr(make, '__qualname__', type(make).__name__)}"
    made = partial(make, count, device=device, **kwargs)
    masks = on_nonfinite == "mask"
    return cast(
        VectorEnv, Foreign(made, count, device, name, bootstrap=bootstrap, random_start=random_start, masks=masks)
    )


class Foreign(Simulator):
    """Same-step reset is what such a simulator does by itself. It need have no ``reset`` and no ``seed``; where it has them,
    they are called. Without a ``reset``, later episodes from the start are those of another one that is made."""

    NEEDS = ("num_envs", "num_actions", "device", "get_observations", "step")

    def __init__(
        self,
        make: Callable[[], Any],
        num_envs: int,
        device: torch.device,
        name: str,
        *,
        bootstrap: str,
        random_start: bool,
        masks: bool,
    ):
        super().__init__(make, num_envs, device, name, random_start=random_start, masks=masks)
        self._bootstrap = bootstrap
        self._missed = torch.zeros((), dtype=torch.bool, device=device)  # a time limit came without a final_obs
        self._fresh: Tensor | None = self._describe(self._seen(), self._sim.num_actions)
        self._obs: Tensor | None = None  # that are acted on

    def _seen(self) -> Any:
        """Its observations. Asked for once: that may draw their noise anew."""
        return self._call("get_observations()", self._sim.get_observations)

    def reset(self, seed: int, *, first: int = 0) -> Tensor:
        """Start every world anew, by ``seed`` where the simulator takes one; ``obs [N, O]``."""
        sim, number, call = self._alive("reset"), self._seed(seed, first), "get_observations()"
        again = callable(getattr(sim, "reset", None))
        if not again and self._fresh is None:
            self.close()
            self._sim = sim = self._made()
        if callable(getattr(sim, "seed", None)):
            self._call("seed()", sim.seed, number)
        if again:
            given, call = self._call("reset()", sim.reset), "reset()"
            given = given[0] if isinstance(given, tuple) else given
            given = given if isinstance(given, Mapping) else self._seen()
            obs = self._groups.row(call, given)
        else:
            obs = self._groups.row(call, self._seen()) if self._fresh is None else self._fresh
        self._spread(number)
        if self._random_start:  # what it shows may tell the time
            obs = self._groups.row("get_observations()", self._seen())
        self._begin()
        self._fresh, self._obs = None, obs
        return obs

    def step(self, action: Tensor) -> Step:
        """Apply ``action [N, A]``. Nothing waits for the device."""
        sim, before = self._alive("step"), self._obs
        if before is None:
            raise EnvError(f"{self.name}: step() needs a reset() first")
        given = self._call("step()", sim.step, action.clone())  # it may write into what it is given
        if not isinstance(given, tuple) or len(given) != 4 or not isinstance(given[3], Mapping):
            what = f"a tuple of {len(given)}" if isinstance(given, tuple) else kind(given)
            raise EnvError(f"{self.name}: step() gave {what}; needed is (observations, reward, dones, extras)")
        groups, reward, dones, extras = given
        obs = self._groups.row("step()", groups)
        ended = self._flat("dones", dones) != 0
        truncated = torch.zeros_like(ended)
        if (outs := extras.get("time_outs")) is not None:
            truncated = ended & (self._flat("extras['time_outs']", outs) != 0)
        if (final := extras.get("final_obs")) is not None:
            last = self._groups.row("step(): extras['final_obs']", final)
        else:
            last, self._missed = before, self._missed | truncated.any()
        self._note(extras.get("log"))
        self._obs = obs
        next_obs = torch.where(ended[:, None], last, obs)
        reward, broken = marked(self._flat("reward", reward).to(torch.float32), next_obs)
        if self.masks:
            self._out_of_time(broken & ~ended)
        return self._step(obs, reward, next_obs, ended & ~truncated, truncated, broken)

    def _out_of_time(self, broken: Tensor) -> None:
        """Have the simulator reset these worlds in its next step, as ones that ran out of time."""
        clock, most = getattr(self._sim, "episode_length_buf", None), getattr(self._sim, "max_episode_length", None)
        if not isinstance(clock, Tensor) or most is None:
            say_once(
                f"{self.name}: has no episode_length_buf and max_episode_length: a world that is not finite cannot be reset, "
                "and nothing is learned of it until the simulator does so"
            )
            return
        with torch.inference_mode():  # in which many simulators make their tensors; in place, as it is theirs
            limit = most.to(clock) if isinstance(most, Tensor) else float(most)  # each may have its own
            clock.copy_(torch.where(broken, limit, clock))

    def state(self) -> dict[str, Tensor]:
        """NoState; and EnvError where an episode ran out of time, ``final_obs`` was asked for, and none came."""
        if self._missed:
            if self._bootstrap == "final_obs":
                raise EnvError(
                    f"{self.name}: env.bootstrap=final_obs, and a time limit ended an episode without extras['final_obs']; "
                    "have it give them, or take env.bootstrap=last_obs"
                )
            say_once(
                f"{self.name}: gives no extras['final_obs']: after a time limit the value of the observation acted on stands for "
                "that of the last one, which nobody saw (env.bootstrap=last_obs, as rsl_rl)"
            )
        return super().state()

    def _flat(self, what: str, value: Any) -> Tensor:
        check(f"{self.name}: step(): {what}", value, self.device)
        if value.shape != (self.num_envs,):
            raise EnvError(f"{self.name}: step(): {what} has shape {list(value.shape)}, must be [{self.num_envs}]")
        return value
