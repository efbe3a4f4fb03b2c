"""Any gymnasium environment, by its id."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial, reduce
from importlib.util import find_spec
from typing import Any

import gymnasium
from gymnasium.wrappers import HumanRendering

from envs.base import EnvError, Envs, VectorEnv
from envs.box2d import fresh
from envs.display import check_window, draw_off_screen
from envs.shard import Together
from envs.vector import vector

Wrap = Callable[[gymnasium.Env], gymnasium.Env]


INSTEAD = {  # wrappers whose work a run does itself, where it is also saved; and the word for it
    "NormalizeObservation": "normalise.obs=true",
    "NormalizeReward": "normalise.reward=true",
    "Autoreset": "nothing: every episode that ends is reset",
    "RecordVideo": "python -m ppo.evaluate RUN --video FILE",
}


_NORMALISERS = ("NormalizeObservation", "NormalizeReward")


def gym(
    num_envs: Envs,
    workers: int,
    *,
    id: str,
    kwargs: dict[str, Any],
    wrappers: list[dict[str, Any]],
    render_mode: str | None,
) -> VectorEnv:
    """``gymnasium.make(id, **kwargs)``; ``id`` may be ``module:Name-v0``. Observations of several axes are flattened.

    ``kwargs``: of the environment's constructor; ``max_episode_steps`` among them is gymnasium's, and truncates episodes.
    ``wrappers``: put around it one after the other. As options, {_target_: name, option: value}; here, functions of an
    environment. Raises EnvError for one whose work a run does itself.

    gymnasium's own vector environments are not used: their default autoreset inserts a row whose action was ignored.
    """
    make = partial(_registered, id, dict(kwargs))
    return vector(partial(_make, id, make, _allowed(id, wrappers), render_mode), num_envs, workers, id)


def _allowed(name: str, wrappers: list[Any]) -> tuple[Wrap, ...]:
    """The wrappers; EnvError for one whose work a run does itself."""
    for wrap in wrappers:
        called = getattr(getattr(wrap, "func", wrap), "__name__", "")
        if called in INSTEAD:
            raise EnvError(
                f"{name}: env.wrappers: {called} has a state that no checkpoint holds; instead: {INSTEAD[called]}"
            )
    return tuple(wrappers)


_MADE: dict[str, Callable[[], gymnasium.Env]] = {}  # what was given to this process, by its name
_AGAIN = "@"  # what comes after it in a name is nobody's to read
_kept = itertools.count(1)


def keep_made(name: str, make: Callable[[], gymnasium.Env] | None = None) -> str | None:
    """Another name for what ``name`` makes now, or for ``make``, whatever ``name`` is given to later; None where it is not
    known here. ``let_go`` forgets it."""
    make = make or _MADE.get(name)
    return None if make is None else remember(make, f"{name}{_AGAIN}{next(_kept)}")


def let_go(name: str) -> None:
    """Of what ``keep_made`` kept."""
    _MADE.pop(name, None)


def remember(make: Callable[[], gymnasium.Env], name: str | None = None) -> str:
    """The name by which ``python`` makes environments with ``make``, a class or a function without arguments.

    ``name``: the one that a run knows it by already. Raises EnvError where the name is another one's: every lambda has
    the same.
    """
    check_maker(make)
    named = make.func if isinstance(make, partial) else make
    # A process that multiprocessing spawned calls the program's module by another name.
    module = str(getattr(named, "__module__", "")).replace("__mp_main__", "__main__")
    own = f"{module}.{getattr(named, '__qualname__', type(named).__name__)}"
    if name is None and _MADE.get(own, make) is not make and ("<" in own or named is not make):
        raise EnvError(
            f"{own}: is another environment of this program already; give each a function of its own, by def"
        )
    _MADE[name or own] = make
    return name or own


def check_maker(make: Any) -> None:
    """EnvError where it is no maker: an environment itself, say."""
    if isinstance(make, gymnasium.Env) or not callable(make):
        raise EnvError(
            f"env={type(make).__name__}: needed is what makes one, a class or a function: env=lambda: MyEnv(...)"
        )


def python(
    num_envs: Envs, workers: int, *, name: str, wrappers: list[dict[str, Any]], render_mode: str | None
) -> VectorEnv:
    """An environment that was given to ``ppo.fit(env=...)`` or ``ppo.load(env=...)``: a class, or a function that makes one.

    It is known by its ``name`` to the process that it was given to, and to no other: no file could hold it.
    """
    if name not in _MADE:
        raise EnvError(
            f"{name}: an environment of a Python program, which is not here; go on from Python: ppo.load(RUN, env=...), or "
            "register it with gymnasium and name it by env=gym env.id=MODULE:NAME-v0"
        )
    shown = name.partition(_AGAIN)[0]
    make = partial(_make, shown, _MADE[name], _allowed(shown, wrappers), render_mode)
    return vector(make, num_envs, workers, shown)


def mujoco(
    num_envs: Envs,
    workers: int,
    *,
    id: str,
    kwargs: dict[str, Any],
    wrappers: list[dict[str, Any]],
    render_mode: str | None,
) -> VectorEnv:
    """A MuJoCo task of gymnasium: ``Hopper-v5``, ``Ant-v5`` ... (the older versions need bindings no longer made).

    ``kwargs``: of the robot's constructor. Robots with no wrapper are stepped by C of our own, to the same bits, where it
    knows what the ``kwargs`` change; see ``envs.mujoco``.
    """
    if not id.endswith("-v5"):
        raise EnvError(f"{id}: env=mujoco takes the v5 tasks of gymnasium, such as HalfCheetah-v5; others by env=gym")
    make = partial(_make, id, partial(_compiled, id, dict(kwargs)), _allowed(id, wrappers), render_mode)
    return vector(make, num_envs, workers, id, together=_together)


def _compiled(id: str, kwargs: dict[str, Any], **drawn: Any) -> gymnasium.Env:
    if find_spec("mujoco") is None:  # gymnasium says what is missing
        return _registered(id, kwargs, **drawn)
    from envs.mujoco.model import compiling

    with compiling():
        return _registered(id, kwargs, **drawn)


def _together(envs: Sequence[gymnasium.Env]) -> Together | None:
    if find_spec("mujoco") is None:  # a task of another package
        return None
    from envs.mujoco.share import together

    return together(envs)


def _make(
    name: str, make: Callable[..., gymnasium.Env], wrappers: Sequence[Wrap], render_mode: str | None, index: int
) -> gymnasium.Env:
    """What ``make`` makes, drawn where that is asked for, within its wrappers."""
    drawn: dict[str, Any] = {}
    if render_mode is not None:  # an environment that never renders need not know the argument
        drawn = {"render_mode": render_mode}
        check_window(render_mode)
        draw_off_screen(render_mode)
    try:
        env = make(**drawn)
        if render_mode == "human" and "human" not in (modes := env.metadata.get("render_modes", ())):
            env = _in_a_window(name, env, make, modes)
    except TypeError as error:
        if not drawn or "'render_mode'" not in str(error):
            raise
        raise EnvError(
            f"{name}: its constructor takes no render_mode, so it cannot be drawn; leave env.render_mode out, or give it "
            "__init__(self, render_mode=None) and render()"
        ) from error
    _check_within(name, env)
    return reduce(lambda env, wrap: wrap(env), wrappers, env)


def _check_within(name: str, env: gymnasium.Env) -> None:
    """EnvError where what was made has a wrapper of gymnasium's in it that normalises: evaluations would have statistics of
    their own, and no checkpoint holds them."""
    while isinstance(env, gymnasium.Wrapper):
        called = type(env).__name__
        if called in _NORMALISERS and type(env).__module__.startswith("gymnasium."):
            raise EnvError(
                f"{name}: is wrapped in {called}, whose state no checkpoint holds and no evaluation shares; leave it out, "
                f"and say {INSTEAD[called]}"
            )
        env = env.env


def _in_a_window(
    name: str, env: gymnasium.Env, make: Callable[..., gymnasium.Env], modes: Sequence[str]
) -> gymnasium.Env:
    """One that draws pictures and opens no window itself, in a window of gymnasium's; as gymnasium.make does it."""
    env.close()
    if "rgb_array" not in modes:
        raise EnvError(
            f'{name}: its metadata["render_modes"] is {list(modes)}; to be watched or filmed it needs "rgb_array" there, '
            "render_fps, and a render() that gives pictures"
        )
    if find_spec("pygame") is None:
        raise EnvError(f"{name}: a window for its pictures needs pygame: pip install 'gymnasium[classic-control]'")
    return HumanRendering(make(render_mode="rgb_array"))


def _registered(id: str, kwargs: dict[str, Any], **drawn: Any) -> gymnasium.Env:
    try:
        # The checker costs time in every step and says nothing that the vector does not check.
        return fresh(gymnasium.make(id, disable_env_checker=True, **kwargs | drawn))
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(f"{id}: {error} (for MuJoCo tasks: pip install 'gymnasium[mujoco]')") from error
    except gymnasium.error.Error as error:
        hint = ""
        if isinstance(error, gymnasium.error.UnregisteredEnv) and ":" not in id and "Did you mean" not in str(error):
            hint = f"; a task of another package: env.id=PACKAGE:{id}, with the package that registers it"
        raise EnvError(f"{id}: gymnasium cannot make it: {' '.join(str(error).split())}{hint}") from error
    except ModuleNotFoundError as error:
        module, missing = (
            id.rpartition(":")[0],
            getattr(error.__cause__, "name", error.name),
        )  # gymnasium raises it anew
        if not missing or not f"{module}.".startswith(f"{missing}."):
            raise  # something that the module itself imports
        raise EnvError(
            f"{id}: there is no module {missing} on Python's path; start in the folder that holds it, set "
            "PYTHONPATH=FOLDER, or install it (pip install -e FOLDER)"
        ) from error
