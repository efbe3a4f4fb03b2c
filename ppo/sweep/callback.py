"""Hydra's callback of a multirun: where it is, which cells were asked for, and where a process returns to after a cell."""

import os
import sys
import uuid
from pathlib import Path
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from ppo.logging.console import is_terminal
from ppo.run import signals
from ppo.run.folder import fresh
from ppo.sweep.table import Watching


class Sweep(Callback):
    """Hydra's callback: where a run or multirun is, and which cells were asked for, known wherever a cell runs.

    A folder that is named by a clock is nobody else's. An environment may change the working directory, and the next
    cell may run in the same process: so the folder is made absolute before a cell begins, and after each one the process
    returns to where it was started.
    """

    folder: Path | None = None  # of the multirun that was started in this process
    asked: int | None = None  # cells; None where only the sweeper knows
    token = ""  # of the multirun that the cell running in this process belongs to
    quiet = False  # whether the cell running in this process writes to its own folder what it says
    table: Watching | None = None  # the live table, where the sweep was started on a terminal

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Before a single run."""
        _own_folder(config.hydra.run)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """In the process that was started, before the first cell."""
        Sweep.folder = _own_folder(config.hydra.sweep)
        Sweep.asked, Sweep.token = count(config), uuid.uuid4().hex
        self._start, self._token = Path.cwd(), Sweep.token  # these travel to the processes that run cells
        self._quiet = is_terminal(sys.stdout)
        with read_write(config):
            config.hydra.overrides.hydra.append(sweep_dir(Sweep.folder))  # from which every cell is composed
        signals.listen("the cells that run are finishing their updates", pass_on=True)
        if self._quiet:
            Sweep.table = Watching(Sweep.folder, Sweep.token, Sweep.asked)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """In the process that was started, after the last cell."""
        close_table()

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In the process that runs the cell."""
        Sweep.token, Sweep.quiet = getattr(self, "_token", ""), getattr(self, "_quiet", False)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """In the process that ran the cell, also after a failure."""
        if (start := getattr(self, "_start", None)) is not None:
            os.chdir(start)


def close_table() -> None:
    """Give the terminal back, where a sweep has it."""
    table, Sweep.table = Sweep.table, None
    if table is not None:
        table.stop()


def sweep_dir(folder: Path) -> str:
    """The word that chooses ``folder`` for a sweep, whatever its name is."""
    return f"hydra.sweep.dir={QuotedString(str(folder), Quote.single).with_quotes()}"


def count(config: DictConfig) -> int | None:
    """How many cells the words of a multirun ask for; None where the sweeper decides that on the way."""
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_", "")).endswith(f".{BasicSweeper.__name__}"):
        return None
    words = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        overrides = parser.parse_overrides([*words, *config.hydra.overrides.task])
        batches = BasicSweeper.split_arguments(overrides, None)
    except HydraException:
        return None  # the sweeper will say what is wrong with them
    return len({tuple(words) for batch in batches for words in batch})


def _own_folder(node: DictConfig) -> Path:
    """The folder that ``node.dir`` says, absolute: an environment may change the working directory. Two that were started
    within one tick of the clock that names it do not share it."""
    named_by_clock = "${now:" in str(cast(dict, OmegaConf.to_container(node, resolve=False))["dir"])
    folder = Path(node.dir).absolute()
    with read_write(node):
        node.dir = str(fresh(folder) if named_by_clock else folder)
    return Path(node.dir)
