"""``ppo.fit``: train from Python, and what a run on the disk is."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from envs.fault import keep
from envs.gym import remember
from envs.process import start_here
from ppo.api.policy import Env, Policy, load, name_in, threads_kept
from ppo.config.errors import one_line
from ppo.config.options import CONF, ConfigError, plain
from ppo.config.options import fit as fitted
from ppo.config.renamed import words_of_today
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.run.build import trusted
from ppo.run.folder import config_of, endpoint, import_from_here, remove_if_empty, run_json
from ppo.run.launch import absolute, alone, continued, libraries_kept, restarting
from ppo.run.signals import Ended, Interrupted, listening
from ppo.run.words import groups_named, paths_quoted, quoted, unreadable

_COMPOSING = threading.Lock()


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

    def __init__(self, folder: Path, trust: Sequence[str] = ()):
        self.folder, self._trust = folder, tuple(trust)

    @property
    def metrics(self) -> Metrics:
        """Every update, as it was logged."""
        return Metrics(read(self.folder / "metrics.jsonl"))

    @property
    def policy(self) -> Policy:
        """Its last policy; ``ppo.load(run.folder, checkpoint="best")`` for another one."""
        return load(self.folder, trust=self._trust)

    @property
    def result(self) -> float:
        """The final window of its deterministic evaluations, as a comparison reads it; without one (``eval.episodes=0``), of
        the returns in training; NaN where no episode ended."""
        return endpoint(self.folder)

    def __repr__(self) -> str:
        status = run_json(self.folder).get("status")
        what = "evaluation" if "eval/return" in self.metrics else "return in training"
        return f"<run {self.folder}: {status}, {len(self.metrics.rows)} updates, {what} {self.result:,.1f}>"


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
        where = (
            Path(folder).expanduser()
            if folder
            else Path("outputs", f"{now:%Y-%m-%d}", f"{now:%H-%M-%S-%f}-seed{cfg.seed}")
        )
    where = where.absolute()
    where.mkdir(parents=True, exist_ok=True)
    from ppo.train import train

    start_here()
    config = plain(cfg)
    run = Run(folder=where, name=where.name, config=config, words=words, on_update=on_update)
    try:
        with contextlib.chdir(os.getcwd()), alone(where, config) as done, listening(forget=True), libraries_kept():
            if done is None:
                with contextlib.suppress(Ended), threads_kept():
                    restarting(train, cfg, run)
    except Interrupted as error:
        if error.args[0] == signal.SIGINT:
            raise KeyboardInterrupt(f"resume={where} continues the run") from error
        raise
    except Exception as error:
        keep(error, where if run_json(where) else None)
        remove_if_empty(where)
        raise
    return Finished(where, trusted(cfg))


def _words(typed: Sequence[str], given: Mapping[str, Any], env: Env | None) -> tuple[str, ...]:
    """All words of a run as the command line would have them. Raises ConfigError for what only that has."""
    words = [*typed, *(f"{key.replace('__', '.')}={_spelt(value)}" for key, value in given.items())]
    for word in words:
        if word.startswith("-") or word.lstrip("+").startswith(("hydra.", "hydra/", "sweep=", "sequential=")):
            raise ConfigError(f"{word}: for the command line, python -m ppo.train; fit trains one run, in folder=")
    words = paths_quoted(words_of_today(words))
    if wrong := unreadable(words):
        raise wrong
    groups_named(words)
    read = OverridesParser.create().parse_override
    resumed = next((read(word).value() for word in words if word.startswith("resume=")), None)
    if env is not None and (other := next((word for word in words if word.startswith("env=")), None)):
        raise ConfigError(f"{other}: beside env=, which is another environment; give one")
    return (*words, *_env(env, Path(str(resumed)) if resumed else None))


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
    if isinstance(value, np.generic | np.ndarray):
        return _spelt(value.tolist())
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
    name = name_in(config_of(resumed)) if resumed else None
    return "env=python", f"env.name={quoted(remember(env, name))}"
