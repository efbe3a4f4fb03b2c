"""The command line of training. torch is imported only once a job runs: tab completion composes the configuration alone."""

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from envs.base import EnvError
from envs.fault import keep
from envs.process import start_here
from ppo.config.check import bind
from ppo.config.errors import one_line
from ppo.config.extras import needs
from ppo.config.groups import page
from ppo.config.options import CONF, ConfigError, fit, plain
from ppo.config.renamed import words_of_today
from ppo.logging.base import LoggerError, Run
from ppo.run import home
from ppo.run.folder import DiskError, import_from_here, remove_if_empty, run_json
from ppo.run.signals import Interrupted, listening
from ppo.run.words import groups_named, paths_quoted, unreadable

_EXTRAS = {  # words that need a plugin of Hydra's, and the extra that it comes with
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "hydra/launcher=slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "+sweep=search": ("hydra_plugins.hydra_optuna_sweeper", "search"),
}


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> float:
    """One run, or one cell of a multirun: its result, as an optimiser reads it."""
    with contextlib.chdir(os.getcwd()):  # an environment may go elsewhere; the next cell begins here again
        start_here()
        try:
            return _run(cfg)
        except Exception as error:
            folder = Path(HydraConfig.get().runtime.output_dir)
            keep(error, folder if run_json(folder) else None)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _end(error, folder)


def _run(cfg: DictConfig) -> float:
    from ppo.run import ranks
    from ppo.run.launch import absolute, alone, continued, libraries_kept, of_first_rank, restarting
    from ppo.sweep.callback import Sweep
    from ppo.sweep.cells import cell
    from ppo.sweep.table import into_file
    from ppo.train import train

    hydra_cfg = HydraConfig.get()
    folder, words = Path(hydra_cfg.runtime.output_dir), hydra_cfg.overrides.task
    multirun = hydra_cfg.mode == RunMode.MULTIRUN
    cfg = absolute(fit(cfg, words, hydra_cfg.runtime.choices))
    if cfg.resume:
        if multirun:
            raise ConfigError("resume: a sweep is continued by its own command, which runs what is missing")
        remove_if_empty(folder)
        folder, cfg = continued(cfg, words)
    if ranks.started() > 1:
        bind(cfg)
        if multirun:
            raise ConfigError("-m: a sweep runs its cells beside each other; torchrun is for one run")
    config = plain(cfg)
    with ranks.joined(cfg.rank_timeout):
        folder = of_first_rank(folder, config)
        run = Run(folder=folder, name=folder.name, config=config, words=tuple(words))
        if multirun:
            group = "-".join(Path(hydra_cfg.sweep.dir).parts[-2:])
            run = run._replace(group=group, job_type=arm(words))
        holding, quiet = (cell if multirun else alone)(folder, config), multirun and Sweep.quiet
        with holding as done, into_file(folder, quiet and done is None), listening(), libraries_kept():
            return restarting(train, cfg, run) if done is None else done


def _end(error: Exception, folder: Path) -> NoReturn:
    """End the process of a single run by what a person can mend, in one line; anything else is raised again."""
    from ppo.run.checkpoint import CheckpointError
    from ppo.run.crash import NonFinite
    from ppo.run.ranks import RankLost

    if isinstance(error, Interrupted):
        sys.exit(error.code)
    if not isinstance(error, ConfigError | CheckpointError | NonFinite | EnvError | LoggerError | DiskError | RankLost):
        raise error
    remove_if_empty(folder)
    code = _say(error)
    if isinstance(error, RankLost):
        # All is closed. What PyTorch keeps of a connection that broke may abort an ordinary end of the process.
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def arm(overrides: Sequence[str]) -> str:
    """What a comparison calls this job: all that was asked for but the seed and where it is logged."""
    return ",".join(o for o in overrides if not o.startswith(("seed=", "logger=", "logger.", "+sweep="))) or "default"


def main() -> None:
    """Errors that a person can mend come as one line and exit code 2; anything else is a bug and keeps its traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its errors through to us
    home.settle()
    import_from_here()
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(page(CONF), end="")
        sys.exit(0)
    try:
        _check_system()
        sys.argv[1:] = words = paths_quoted(words_of_today(words))
        groups_named(words)
        check_plugins(words)
        if any(word.startswith("sequential=") for word in words):
            from ppo.sweep.sequential import main as until_decided

            sys.exit(until_decided(words))
        job()
    except (HydraException, OmegaConfBaseException, ConfigError, EnvError) as error:
        told = (unreadable(words) if isinstance(error, HydraException) else None) or error
        sys.exit(_end_of_sweep(one_line(told)) or _say(told))
    except OSError as error:
        if not error.filename:  # then it is none of the disk's
            if not _end_of_sweep():
                raise
            _say(error)
            sys.exit(1)
        told = OSError(f"{error.filename}: {error.strerror}")
        sys.exit(_end_of_sweep(one_line(told)) or _say(told))
    except Interrupted as error:
        _end_of_sweep()
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _end_of_sweep():
            raise
        _say(error)  # a launcher may fail before any cell begins, which then has no reason of its own
        sys.exit(1)
    sys.exit(_end_of_sweep())


def _check_system() -> None:
    try:
        import fcntl  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "training needs Linux or macOS, whose file locks keep two runs out of one folder; on Windows, use WSL"
        ) from error


def check_plugins(words: Sequence[str]) -> None:
    """Raise ConfigError where a launcher or a search is not installed: Hydra would speak of something else."""
    for word in words:
        plugin, extra = _EXTRAS.get(word, (None, None))
        if plugin and not find_spec(plugin):
            raise ConfigError(needs(word, str(extra)))
    if "hydra/launcher=slurm" in words and not shutil.which("sbatch"):
        raise ConfigError("hydra/launcher=slurm: there is no sbatch here; start it where Slurm is")


def _end_of_sweep(why: str = "") -> int:
    """After a multirun, say what became of its cells; 1 if some did not finish. ``why``: some did not begin, if so."""
    from rich.console import Console

    try:
        from ppo.sweep.callback import close_table
        from ppo.sweep.cells import Sweep, report
    except ImportError:  # as _check_system says
        return 0
    close_table()
    if Sweep.folder is None:
        return 0
    return min(1, report(Sweep.folder, Console(stderr=True), asked=Sweep.asked, token=Sweep.token, why=why))


def _say(error: Exception) -> int:
    """Print the error as one line; the exit code."""
    rank = os.environ.get("RANK", "0")
    print(f"{'' if rank == '0' else f'rank {rank}: '}error: {one_line(error)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
