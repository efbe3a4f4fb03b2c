"""The framework from Python: ``ppo.fit``, ``ppo.load``, ``ppo.compare``. The words are those of the command line, and so is
what they do; what is a mistake there raises here, with the same line."""

import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from envs.fault import keep
from envs.gym import remember
from ppo.compare import page
from ppo.compare.report import sentences
from ppo.config.errors import one_line
from ppo.config.options import CONF, ConfigError, plain
from ppo.config.options import fit as fitted
from ppo.config.renamed import words_of_today
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.page.html import bullets, framed, write
from ppo.run.checkpoint import find
from ppo.run.checkpoint import load as read_checkpoint
from ppo.run.evaluation import play
from ppo.run.folder import config_of, endpoint, import_from_here, remove_if_empty, run_json
from ppo.run.launch import absolute, alone, continued, libraries_kept, restarting
from ppo.run.policy import Act, restored, sampled
from ppo.run.signals import Ended, Interrupted, listening
from ppo.run.words import paths_quoted, quoted, unreadable

_COMPOSING = threading.Lock()
Env = str | type[gymnasium.Env] | Callable[[], gymnasium.Env]


class Metrics(Mapping[str, np.ndarray]):
    """A run's rows as columns: ``metrics["kl/final"]`` is an array with an entry an update, NaN (text, lists: None) where it was
    not logged. ``rows``: the dicts themselves; ``pandas.DataFrame(metrics.rows)`` makes a frame."""

    def __init__(self, rows: Sequence[dict[str, Any]]):
        self.rows = list(rows)

    def __getitem__(self, name: str) -> np.ndarray:
        values = [row.get(name) for row in self.rows]
        if all(value is None for value in values):
            raise KeyError(name)
        if all(value is None or isinstance(value, int | float) for value in values):
            return np.array([np.nan if value is None else value for value in values])
        column = np.empty(len(values), object)  # texts, or lists of different lengths
        column[:] = values
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return (
            f"<metrics of {len(self.rows)} updates: {', '.join([*self][:6])} ... ({len(self)} names, docs/metrics.md)>"
        )


class Finished:
    """A run on the disk: what ``fit`` gives back."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def metrics(self) -> Metrics:
        """Every update, as it was logged."""
        return Metrics(read(self.folder / "metrics.jsonl"))

    @property
    def policy(self) -> "Policy":
        """Its last policy; ``ppo.load(run.folder, checkpoint="best")`` for another one."""
        return load(self.folder)

    @property
    def result(self) -> float:
        """The final window of its deterministic evaluations, as a comparison reads it; NaN without one."""
        return endpoint(self.folder)

    def __repr__(self) -> str:
        status = run_json(self.folder).get("status")
        return f"<run {self.folder}: {status}, {len(self.metrics.rows)} updates, evaluation {self.result:,.1f}>"


def fit(
    *words: str,
    env: Env | None = None,
    on_update: Callable[[dict[str, Any]], Any] | None = None,
    folder: str | os.PathLike | None = None,
    **given: Any,
) -> Finished:
    """Train, and give back the run: ``ppo.fit("kl=exact", "stop=minibatch", env="Hopper-v5", total_steps=200_000, seed=3)``.

    words, given: those of ``python -m ppo.train``; ``lr__value=1e-4`` is ``lr.value=1e-4``.
    env: the id of a gymnasium task, or a class or function without arguments that makes an environment, which need not be
        registered. (Our own robots are words: ``"env=ant"``.)
    on_update: is called with the row of every update, its evaluation included; what is true ends the run there.
    folder: of the run; by default one below ``outputs/``, as on the command line.

    Raises ConfigError, EnvError and whatever else ends a run; the message is one line.
    """
    import_from_here()
    words = _words(words, given, env)
    cfg = _composed(words)
    if cfg.resume:
        if folder is not None:
            raise ConfigError(f"folder={folder}: the run that resume= names has its own")
        where, cfg = continued(cfg, words)
    else:
        now = datetime.now()
        where = Path(folder) if folder else Path("outputs", f"{now:%Y-%m-%d}", f"{now:%H-%M-%S-%f}-seed{cfg.seed}")
    where = where.absolute()
    where.mkdir(parents=True, exist_ok=True)
    from ppo.train import train

    config = plain(cfg)
    run = Run(folder=where, name=where.name, config=config, words=words, on_update=on_update)
    try:
        with contextlib.chdir(os.getcwd()), alone(where, config) as done, listening(forget=True), libraries_kept():
            if done is None:
                with contextlib.suppress(Ended), _threads_kept():
                    restarting(train, cfg, run)
    except Interrupted as error:
        if error.args[0] == signal.SIGINT:
            raise KeyboardInterrupt(f"resume={where} continues the run") from error
        raise
    except Exception as error:
        keep(error, where if run_json(where) else None)
        remove_if_empty(where)
        raise
    return Finished(where)


def _words(typed: Sequence[str], given: Mapping[str, Any], env: Env | None) -> tuple[str, ...]:
    """All words of a run as the command line would have them. Raises ConfigError for what only that has."""
    words = [*typed, *(f"{key.replace('__', '.')}={_spelt(value)}" for key, value in given.items())]
    for word in words:
        if word.startswith("-") or word.lstrip("+").startswith(("hydra.", "hydra/", "sweep=", "sequential=")):
            raise ConfigError(f"{word}: for the command line, python -m ppo.train; fit trains one run, in folder=")
    words = paths_quoted(words_of_today(words))
    if wrong := unreadable(words):
        raise wrong
    resumed = next((Path(word.partition("=")[2].strip("'\"")) for word in words if word.startswith("resume=")), None)
    return (*words, *_env(env, resumed))


def _composed(words: Sequence[str]) -> DictConfig:
    """The configuration of these words. Hydra keeps a state of the whole process: whoever has one of their own gets it back.

    Raises ConfigError.
    """
    with _COMPOSING:
        before = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                return absolute(fitted(compose("config", list(words)), words))
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(one_line(error)) from error
        finally:
            GlobalHydra.instance().hydra = before


def _spelt(value: Any) -> str:
    """``value`` as a word of the command line has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelt, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_spelt(entry)}' for key, entry in value.items())}}}"
    return quoted(str(value)) if isinstance(value, str | os.PathLike) else str(value)


def _env(env: Env | None, resumed: Path | None) -> tuple[str, ...]:
    if env is None:
        return ()
    if isinstance(env, str):
        return "env=gym", f"env.id={quoted(env)}"
    name = _name_in(config_of(resumed)) if resumed else None
    return "env=python", f"env.name={quoted(remember(env, name))}"


def _name_in(config: dict[str, Any]) -> str | None:
    """How a run knows its environment where that was one of Python's."""
    env = config.get("env")
    known = isinstance(env, dict) and env.get("_target_") == "envs.gym.python"
    return str(env["name"]) if known else None


@contextlib.contextmanager
def _threads_kept() -> Generator[None]:
    """A run sets PyTorch's number of threads; whoever called has another one."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Policy:
    """A policy of a checkpoint, its environment and its statistics beside it. ``close()`` it, use it in ``with``, or let go."""

    def __init__(self, path: Path, trust: Sequence[str]):
        stack = ExitStack()
        with _threads_kept():
            policy = stack.enter_context(restored(path, 1, trust))
        self.path, self.trust = path, tuple(trust)
        self._policy, self.close = policy, weakref.finalize(self, stack.close)
        self.name = policy.envs.name
        self.observation_space, self.action_space = policy.envs.observation_space, policy.envs.action_space

    def __enter__(self) -> "Policy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, obs: Any, *, stochastic: bool = False, seed: int | None = None) -> np.ndarray:
        """The action that the environment receives, for one observation [O] or a batch [N, O], as the environment gives
        them: the most likely one, or a sampled one (``seed``: of its noise; by default another one in every call).

        Raises ValueError where the policy has a memory: see ``step``.
        """
        if self._policy.network.memory_size:
            raise ValueError(f"{self.name}: this policy has a memory: action, memory = policy.step(obs, memory)")
        return self.step(obs, stochastic=stochastic, seed=seed)[0]

    def step(
        self, obs: Any, memory: Any = (), *, stochastic: bool = False, seed: int | None = None
    ) -> tuple[np.ndarray, Any]:
        """(action, memory): as a call, with what a policy with memory carries from one step of an episode to the next.

        memory: a row for each observation, as the step before gave it back; set it to 0 in rows where an episode begins,
        or give () where all do.
        """
        if isinstance(obs, Mapping | tuple):  # of a Dict or Tuple space: one observation
            obs = self._policy.envs.row(obs)
        given = np.asarray(obs, dtype=self.observation_space.dtype)
        size = self.observation_space.shape[0]
        if given.ndim not in (1, 2) or given.shape[-1] != size:
            raise ValueError(f"{self.name}: obs has shape {given.shape}, needed is [{size}] or [N, {size}]")
        rows = torch.from_numpy(np.atleast_2d(given))
        act: Act = self._policy
        if stochastic:
            seed = int(torch.randint(2**31, ()).item()) if seed is None else seed
            _, network, normalise, to_world, _ = self._policy
            act = sampled(network, normalise, to_world, len(rows), seed)
        with torch.no_grad():
            action, memory = act(rows, memory)
        return action[0] if given.ndim == 1 else action, np.asarray(memory)

    def evaluate(self, episodes: int = 20, *, stochastic: bool = False, seed: int = 1_000_000) -> np.ndarray:
        """The returns of so many episodes in environments of its own, made for this."""
        if episodes < 1:
            raise ConfigError(f"episodes={episodes}: must be at least 1")
        _, network, normalise, _, _ = self._policy
        with _threads_kept(), restored(self.path, episodes, self.trust) as policy:
            policy = policy._replace(network=network, normalise=normalise)  # this one, whatever the file holds by now
            act = policy.sampled(seed) if stochastic else policy
            return play(policy.envs, act, seed, episodes)[0]

    def __repr__(self) -> str:
        steps = self._policy.meta["progress"]["env_steps"]
        return f"<policy for {self.name} after {steps:,} steps, {self.path}>"


def load(
    run: str | os.PathLike, *, checkpoint: str = "latest", env: Env | None = None, trust: Sequence[str] = ()
) -> Policy:
    """The policy of a run folder or checkpoint file.

    checkpoint: latest, best, or the name of a numbered one. env: what makes its environment, where a run was trained in
    one of Python's that this process has not seen. trust: packages that the checkpoint may name. Raises CheckpointError,
    ConfigError, EnvError.
    """
    import_from_here()
    path = find(Path(run).absolute(), checkpoint)
    if env is not None:
        name = _name_in(read_checkpoint(path)[1].get("config") or {})
        if name is None or isinstance(env, str):
            raise ConfigError(f"env={env}: {path} was trained in an environment that its configuration names")
        remember(env, name)
    return Policy(path, trust)


class Verdict:
    """What a comparison found: sentences, numbers, a page of curves. In a notebook it shows them."""

    def __init__(self, comparison: Any):
        self._comparison = comparison
        self.numbers: dict[str, Any] = comparison.verdict

    @property
    def sentences(self) -> list[str]:
        """What is decided: one a pair and environment at the primary endpoint, each with its uncertainty."""
        return sentences(self.numbers)

    def save(self, file: str | os.PathLike) -> Path:
        """Write the page, with curves, tables and all, as one HTML file; where it is."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, page.of(self._comparison))
        return path

    def __repr__(self) -> str:
        return "\n".join(self.sentences) or "no pair to compare"

    def _repr_html_(self) -> str:
        return bullets(self.sentences) + framed(page.curves_of(self._comparison))


def verdict(
    *paths: str | os.PathLike,
    by: str | Sequence[str] = "",
    baseline: str | None = None,
    window: int | None = None,
    allow: Sequence[str] = (),
    sequential: bool = False,
    alpha: float = 0.05,
) -> Verdict:
    """Compare the arms of the runs below ``paths``: ``ppo.compare("outputs/sweep", by="kl", baseline="kl=exact")``.

    The options are those of ``scripts/compare_runs.py``; docs/comparing.md explains them. Raises CompareError.
    """
    from ppo.compare.compare import compare
    from ppo.compare.load import load as trials

    factors = [
        word.strip() for text in ([by] if isinstance(by, str) else by) for word in text.split(",") if word.strip()
    ]
    return Verdict(
        compare(
            trials([Path(path) for path in paths]),
            by=factors,
            baseline=baseline,
            window=window,
            allow=list(allow),
            alpha=alpha,
            sequential=sequential,
        )
    )
