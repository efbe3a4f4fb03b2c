"""All robots of a share, stepped in one call of C (step.c) on the very simulations that gymnasium's environments hold.

Those reset, draw and close as ever. Before C is trusted it plays some steps beside gymnasium's own: where one bit differs,
because a version of gymnasium, numpy or MuJoCo computes something otherwise, it is not used.
"""

import ctypes
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from envs.arena import Arena, arena, arena_bytes, spaces
from envs.base import say_once
from envs.fault import RAISED
from envs.mujoco.tasks import READ, TASKS, Part, Task
from envs.native import load

_MUJOCO: Any = mujoco  # no type checker sees the names that C gives it
_SOURCE = Path(__file__).with_name("step.c")
_PARTS, _MOST = 8, 128  # as in step.c: parts of a list, its end among them; numbers that a plain sum may have
_TRIED = 100  # steps beside gymnasium's own


class _Part(ctypes.Structure):
    """``tasks.Part``, its numbers by their address. One without numbers ends a list."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("low", ctypes.c_double),
        ("high", ctypes.c_double),
    )


class _Robot(ctypes.Structure):
    """A simulation, and its ``tasks.Task`` in addresses of its memory. ``mass``: of each body; null where ``place`` is of one."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("model", "data", "ctrl", "place", "mass")),
        ("contacts", _Part),
        ("seen", _Part * _PARTS),
        ("healthy", _Part * _PARTS),
    )


class _Share(ctypes.Structure):
    """MuJoCo's functions, and where it keeps whom to call on an error; the robots; the rows of the arena, an array each; how
    many there are of everything; the weights of the reward; what the error said."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("step", "forces", "on_error", "robots", "action", "obs", "reward")),
        *((name, ctypes.c_void_p) for name in ("terminated", "truncated", "length", "cursor")),
        *((name, ctypes.c_int64) for name in ("first", "count", "actions", "bodies", "substeps", "time_limit", "wide")),
        *((name, ctypes.c_double) for name in ("dt", "mass", "forward", "alive", "control", "contact", "most_contact")),
        ("said", ctypes.c_char * 512),
    )


def together(envs: Sequence[gymnasium.Env]) -> "Robots | None":
    """What steps all of ``envs`` at once, to the same bits; None where they are not gymnasium's robots, of one
    kind and with the same options, all of which a task reads, where there is no compiler, or where the bits are not the
    same, which is said. ``envs`` need a reset afterwards."""
    if not all(_known(env) and _same(env, envs[0]) for env in envs):
        return None
    physics, library = _physics(), load(_SOURCE)
    if physics is None or library is None:
        return None
    try:
        agrees = _agrees(envs[0], Robots(envs[:1], library, physics))
    except RAISED:  # what raises here does so again, and is reported, when the environment is used
        agrees = False
    if not agrees:
        versions = f"gymnasium {gymnasium.__version__}, MuJoCo {mujoco.__version__}, numpy {np.__version__}"
        say_once(f"{_kind(envs[0])}: {versions} step it otherwise than envs/mujoco does; gymnasium's own step is taken")
        return None
    return Robots(envs, library, physics)


def _known(env: gymnasium.Env) -> bool:
    """Whether this is one of the robots with nothing around it and nothing changed but what a task reads; a window is
    gymnasium's to draw."""
    if type(env) is not TimeLimit or type(env.env) is not OrderEnforcing or env.env.env is not env.unwrapped:
        return False
    return _kind(env) in TASKS and READ.issuperset(env.spec.kwargs) and env.render_mode != "human"


def _same(env: gymnasium.Env, first: gymnasium.Env) -> bool:
    return _kind(env) == _kind(first) and env.spec.kwargs == first.spec.kwargs


def _kind(env: gymnasium.Env) -> str:
    robot = type(env.unwrapped)
    return f"{robot.__module__}:{robot.__qualname__}"


@cache
def _physics() -> ctypes.CDLL | None:
    """The library that the package ``mujoco`` itself runs on."""
    found = [*Path(mujoco.__file__).parent.glob("libmujoco.*")]
    return ctypes.CDLL(str(found[0])) if len(found) == 1 else None


class Robots:
    """Steps ``envs``, all of one kind, in one call; see ``envs.shard.Together``."""

    def __init__(self, envs: Sequence[gymnasium.Env], library: ctypes.CDLL, physics: ctypes.CDLL):
        self._call = library.step
        self._call.argtypes, self._call.restype = [ctypes.c_void_p], ctypes.c_int64
        robots: list[Any] = [env.unwrapped for env in envs]
        clock: Any = envs[0].spec
        tasks = [TASKS[_kind(env)](robot) for env, robot in zip(envs, robots, strict=True)]
        self._kept: list[Any] = [robots, tasks]  # what C reads and writes must live as long as this
        self._robots = (_Robot * len(envs))(*(_robot(robot, task) for robot, task in zip(robots, tasks)))
        self._share = _share(robots[0], tasks[0], physics)
        self._share.robots, self._share.count = ctypes.addressof(self._robots), len(envs)
        self._share.time_limit = clock.max_episode_steps
        self._address = ctypes.addressof(self._share)

    def attach(self, rows: Arena, first: int) -> None:
        """Read actions from ``rows``, whose first is sub-environment ``first``, and write what came of them there."""
        share, step = self._share, rows.step
        share.first = first
        for name, array, kind in (
            ("action", rows.action, np.float32),
            ("obs", step.next_obs, np.float64),
            ("reward", step.reward, np.float64),
            ("terminated", step.terminated, np.bool_),
            ("truncated", step.truncated, np.bool_),
            ("length", rows.length, np.int64),
            ("cursor", rows.cursor, np.int64),
        ):
            setattr(share, name, _address(array, kind))
        self._kept.append(rows)

    def step(self) -> bool:
        """One step of all; whether an episode ended. FatalError where MuJoCo gave up, as its Python functions raise it."""
        ended = self._call(self._address)
        if ended < 0:
            raise _MUJOCO.FatalError(self._share.said.decode())
        return ended > 0


def _share(robot: Any, task: Task, physics: ctypes.CDLL) -> _Share:
    """What all robots have in common."""
    model = robot.model
    share = _Share(
        step=ctypes.cast(physics.mj_step, ctypes.c_void_p),
        forces=ctypes.cast(physics.mj_rnePostConstraint, ctypes.c_void_p),
        on_error=ctypes.addressof(ctypes.c_void_p.in_dll(physics, "mju_user_error")),
        actions=model.nu,
        bodies=model.nbody,
        substeps=robot.frame_skip,
        dt=robot.dt,
        mass=model.body_mass.sum(),
    )
    for name in ("forward", "alive", "control", "contact", "most_contact", "wide"):
        setattr(share, name, getattr(task, name))
    return share


def _robot(robot: Any, task: Task) -> _Robot:
    one = _Robot(
        model=robot.model._address,
        data=robot.data._address,
        ctrl=_address(robot.data.ctrl),
        place=_address(task.place),
        mass=_address(robot.model.body_mass) if task.place.ndim == 2 else None,
        contacts=_Part() if task.contacts is None else _part(task.contacts),
    )
    assert len(task.seen) < _PARTS and len(task.healthy) < _PARTS and max(one.contacts.count, robot.model.nu) <= _MOST
    assert sum(part.numbers.size for part in task.seen) == robot.observation_space.shape[0]
    one.seen[: len(task.seen)] = [_part(part) for part in task.seen]
    one.healthy[: len(task.healthy)] = [_part(part) for part in task.healthy]
    return one


def _part(part: Part) -> _Part:
    return _Part(_address(part.numbers), part.numbers.size, part.low, part.high)


def _address(array: np.ndarray, kind: type[np.generic] = np.float64) -> int:
    """Where its numbers lie, one after the other."""
    assert array.flags.c_contiguous and array.dtype == kind
    return array.ctypes.data


def _agrees(env: gymnasium.Env, ours: Robots) -> bool:
    """Whether C gives gymnasium's own numbers for some steps, those at the end of an episode among them."""
    kinds = spaces(env.observation_space, env.action_space, "")
    rows = arena(bytearray(arena_bytes(1, *kinds)), 1, *kinds)
    ours.attach(rows, 0)

    def step(action: np.ndarray) -> tuple:
        rows.action[0] = action
        ours.step()
        return rows.step.next_obs[0], rows.step.reward[0], rows.step.terminated[0]

    box: Any = env.action_space
    actions = np.random.default_rng(0).uniform(box.low, box.high, (_TRIED, *box.shape)).astype(box.dtype)
    return all(a == b for a, b in zip([*_played(env, actions, env.step)], _played(env, actions, step)))


def _played(env: gymnasium.Env, actions: np.ndarray, step: Any) -> Iterator[tuple]:
    env.reset(seed=0)
    for action in actions:
        obs, reward, terminated, *_ = step(action)
        yield obs.tobytes(), float(reward), bool(terminated)
        if terminated:
            env.reset()
