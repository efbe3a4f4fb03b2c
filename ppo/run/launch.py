"""One run of the command line: which folder and configuration it has, alone in its folder, started again where a worker was
lost."""

import gc
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from envs.base import WorkerLost
from ppo.config.foreign import check_package
from ppo.config.options import ConfigError
from ppo.config.schema import Config, is_open
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.run import ranks
from ppo.run.artifact import is_one, pinned
from ppo.run.folder import config_of, hold, remove_if_empty, result
from ppo.run.words import EXISTING


def absolute(cfg: DictConfig) -> DictConfig:
    """The paths that ``cfg`` names, as seen from here, whatever becomes of the working directory; and of what wandb keeps
    the version that is meant today."""
    for key in EXISTING:
        path = OmegaConf.select(cfg, key)
        if is_one(path):
            OmegaConf.update(cfg, key, pinned(path))
        elif isinstance(path, str) and path and os.path.exists(path):
            OmegaConf.update(cfg, key, os.path.abspath(path))
    return cfg


def continued(cfg: DictConfig, words: Sequence[str]) -> tuple[Path, DictConfig]:
    """The folder and the configuration of the run that ``resume=`` names, with the other ``words`` put in.

    Raises ConfigError where there is no run, or a word cannot be put into one.
    """
    folder = Path(cfg.resume).absolute()
    before = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(config_of(folder))))
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.key_or_group
        if not is_open(key) and OmegaConf.select(before, key, default=(missing := object())) is missing:
            raise ConfigError(f"{key}: cannot be put into the run that resume= names")
        OmegaConf.update(before, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
    before.resume, before.trust = None, cfg.trust  # whom to trust is not for a run folder to say
    if not any(word.lstrip("+").startswith(("env=", "env.id=")) for word in words):
        check_package(before, cfg.trust, folder)
    return folder, before


def of_first_rank(folder: Path, config: dict) -> Path:
    """The folder of the run: of several ranks that of the first, since every one of them makes its own.

    Raises ConfigError where the ranks' configurations differ.
    """
    told = ranks.gather([str(folder), config])
    for number, (_, theirs) in enumerate(told):
        if theirs != told[0][1]:
            raise ConfigError(f"rank {number} was given other words than rank 0")
    chosen = Path(told[0][0])
    if chosen != folder:
        remove_if_empty(folder)
    return chosen


@contextmanager
def alone(folder: Path, config: dict) -> Generator[float | None, None, None]:
    """Hold the folder of a single run. Yields its result if it is finished already, else None.

    Of several ranks the first one holds it, and the others hear of the result.
    """
    if not ranks.first():
        yield ranks.gather(None)[0]
        return
    with hold(folder):
        done = ranks.gather(result(folder, config))[0]
        if done is not None:
            print(f"{folder}: finished already; a larger total_steps continues it", file=sys.stderr)
        yield done


def restarting(train: Callable[[DictConfig, Run], float], cfg: DictConfig, run: Run) -> float:
    """``train``, once more from its checkpoint where a worker process was lost: to the bit what it would have been.

    What is lost twice in one update is not by chance: then, WorkerLost. Nor does one rank of several start again alone.
    """
    before = None
    while True:
        try:
            return train(cfg, run)
        except WorkerLost as error:
            if ranks.size() > 1:
                raise
            rows = run.folder / "metrics.jsonl"
            done = len(read(rows)) if rows.exists() else 0
            if done == before:
                raise
            before = done
            print(f"{error}; starting again after update {done}", file=sys.stderr, flush=True)


@contextmanager
def libraries_kept() -> Generator[None, None, None]:
    """Meanwhile the garbage collector leaves alone what is there by now: 200,000 objects of imported modules. To look
    through them all, in search of garbage, halts a run for 0.1 s every now and then."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
