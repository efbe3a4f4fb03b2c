"""What gymnasium's MuJoCo robots observe, what they are paid for and when they have fallen: as data, for step.c.

Every weight and range is read off the environment itself, so that it has one home, and every array is a view of MuJoCo's
memory, which moves with the simulation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_INF = float("inf")


class Part(NamedTuple):
    """Consecutive numbers in MuJoCo's memory, and their bounds."""

    numbers: np.ndarray
    low: float = -_INF
    high: float = _INF


class Task(NamedTuple):
    """reward = forward * speed + (alive if healthy) - control * |action|^2 - min(contact * |contacts|^2, most_contact)."""

    seen: list[Part]  # the observation, part after part, every number clipped to its bounds
    place: np.ndarray  # whose change is the speed: [1], x of a body; or [bodies, 3], of which the centre of mass counts
    healthy: list[Part] = []  # noqa: RUF012 - a constant; the episode ends unless every number is strictly within
    contacts: Part | None = None  # forces on the bodies, clipped; None: neither seen nor paid for
    forward: float = 0.0
    alive: float = -0.0  # x + -0.0 is x, also where x is -0.0
    control: float = 0.0
    contact: float = 0.0
    most_contact: float = _INF
    wide: bool = False  # |action|^2 in float64, as the simulator holds it; else in the action's own float32


def half_cheetah(env: Any) -> Task:
    position = env.data.qpos
    return Task(
        seen=[Part(position[1:]), Part(env.data.qvel)],
        place=position[:1],
        forward=env._forward_reward_weight,
        control=env._ctrl_cost_weight,
    )


def swimmer(env: Any) -> Task:
    return half_cheetah(env)._replace(seen=[Part(env.data.qpos[2:]), Part(env.data.qvel)])


def walker2d(env: Any) -> Task:
    position, velocity = env.data.qpos, env.data.qvel
    return half_cheetah(env)._replace(
        seen=[Part(position[1:]), Part(velocity, -10.0, 10.0)],
        healthy=[Part(position[1:2], *env._healthy_z_range), Part(position[2:3], *env._healthy_angle_range)],
        alive=env._healthy_reward,
    )


def hopper(env: Any) -> Task:
    task, bounds = walker2d(env), env._healthy_state_range
    return task._replace(healthy=[*task.healthy, Part(env.data.qpos[2:], *bounds), Part(env.data.qvel, *bounds)])


def ant(env: Any) -> Task:
    position, velocity = env.data.qpos, env.data.qvel
    forces = Part(env.data.cfrc_ext, *env._contact_force_range)
    felt = [forces._replace(numbers=forces.numbers[1:])] if env._include_cfrc_ext_in_observation else []
    return half_cheetah(env)._replace(
        seen=[Part(position[2:]), Part(velocity), *felt],
        place=env.data.xpos[env._main_body, :1],
        healthy=[Part(position[2:3], *_closed(*env._healthy_z_range)), Part(position), Part(velocity)],
        contacts=forces,
        alive=env._healthy_reward,
        contact=env._contact_cost_weight,
    )


def humanoid(env: Any) -> Task:
    data = env.data
    bodies = {
        "cinert": data.cinert[1:],
        "cvel": data.cvel[1:],
        "qfrc_actuator": data.qfrc_actuator[6:],
        "cfrc_ext": data.cfrc_ext[1:],
    }
    felt = [
        Part(numbers) for name, numbers in bodies.items() if getattr(env, f"_include_{name}_in_observation") is True
    ]
    return half_cheetah(env)._replace(
        seen=[Part(data.qpos[2:]), Part(data.qvel), *felt],
        place=data.xipos,
        healthy=[Part(data.qpos[2:3], *env._healthy_z_range)],
        contacts=Part(data.cfrc_ext),
        alive=env._healthy_reward,
        contact=env._contact_cost_weight,
        most_contact=env._contact_cost_range[1],
        wide=True,
    )


def inverted_pendulum(env: Any) -> Task:
    position, velocity = env.data.qpos, env.data.qvel
    return Task(
        seen=[Part(position), Part(velocity)],
        place=position[:1],
        healthy=[Part(position[1:2], *_closed(-0.2, 0.2)), Part(position), Part(velocity)],
        alive=1.0,
    )


def _closed(low: float, high: float) -> tuple[float, float]:
    """Bounds that have ``low`` and ``high`` themselves strictly within; infinite ones have every finite number there."""
    return float(np.nextafter(low, -_INF)), float(np.nextafter(high, _INF))


# Options of the robots' constructors that are read off them here, or that a reset alone knows. With another one, such as
# terminate_when_unhealthy, gymnasium steps a robot itself.
READ = {
    *("render_mode", "reset_noise_scale"),
    *("forward_reward_weight", "ctrl_cost_weight", "contact_cost_weight", "healthy_reward"),
    *(f"include_{name}_in_observation" for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")),
}

_WHERE = "gymnasium.envs.mujoco."
TASKS: dict[str, Callable[[Any], Task]] = {
    f"{_WHERE}half_cheetah_v5:HalfCheetahEnv": half_cheetah,
    f"{_WHERE}swimmer_v5:SwimmerEnv": swimmer,
    f"{_WHERE}walker2d_v5:Walker2dEnv": walker2d,
    f"{_WHERE}hopper_v5:HopperEnv": hopper,
    f"{_WHERE}ant_v5:AntEnv": ant,
    f"{_WHERE}humanoid_v5:HumanoidEnv": humanoid,
    f"{_WHERE}inverted_pendulum_v5:InvertedPendulumEnv": inverted_pendulum,
}
