"""The command line of training. torch is imported only once a job runs: tab completion composes the configuration alone."""

import gc
import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

import ppo.config.options
import ppo.config.schema
from envs.base import EnvError, WorkerLost
from envs.fault import keep
from ppo.config.check import bind
from ppo.config.options import MOVED, suggest
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.run.folder import DiskError, about, config_of, hold, result
from ppo.run.signals import Interrupted, listening

_EXTRAS = {  # words that need a plugin of Hydra's, and the extra that it comes with
    "hydra/launcher=ray": ("hydra_plugins.hydra_ray_launcher", "ray"),
    "hydra/launcher=slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "hydra/launcher=submitit_local": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "+sweep=search": ("hydra_plugins.hydra_optuna_sweeper", "search"),
}


@hydra.main(version_base="1.3", config_path=str(ppo.config.options.CONF), config_name="config")
def job(cfg: DictConfig) -> float:
    """One run; in a multirun, one of many."""
    from ppo.logging.base import LoggerError
    from ppo.run import ranks
    from ppo.run.checkpoint import CheckpointError
    from ppo.run.crash import NonFinite
    from ppo.sweep.cells import cell
    from ppo.train import train

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    multirun = hydra_cfg.mode == RunMode.MULTIRUN
    cfg = ppo.config.options.fit(cfg, hydra_cfg.overrides.task)
    try:
        if cfg.resume:
            _remove_if_empty(folder)
            folder, cfg = continued(cfg, hydra_cfg.overrides.task, multirun)
        if ranks.started() > 1:
            bind(cfg)
            if multirun:
                raise ppo.config.options.ConfigError(
                    "-m: a sweep runs its cells beside each other; torchrun is for one run"
                )
        with ranks.joined(cfg.rank_timeout):
            folder = of_first_rank(folder, ppo.config.options.plain(cfg))
            run = Run(
                folder=folder,
                name=folder.name,
                config=ppo.config.options.plain(cfg),
                group="-".join(Path(hydra_cfg.sweep.dir).parts[-2:]) if multirun else None,
                job_type=arm(hydra_cfg.overrides.task) if multirun else None,
            )
            held = cell(folder, run.config) if multirun else alone(folder, run.config)
            with held as done, listening(), libraries_kept():
                return restarting(train, cfg, run) if done is None else done
    except (
        *(ppo.config.options.ConfigError, CheckpointError, NonFinite, EnvError),
        *(LoggerError, DiskError, ranks.RankLost),
    ) as error:
        keep(error, folder if about(folder) else None)
        if multirun:
            raise
        _remove_if_empty(folder)
        code = _say(error)
        if isinstance(error, ranks.RankLost):
            # All is closed. What PyTorch keeps of a connection that broke may abort an ordinary end of the process.
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        sys.exit(code)
    except Interrupted as error:
        if multirun:
            raise
        sys.exit(error.code)


def of_first_rank(folder: Path, config: dict) -> Path:
    """The folder of the run: of several ranks that of the first, since Hydra dates every one's anew.

    Raises ConfigError where the ranks' configurations differ.
    """
    from ppo.run import ranks

    told = ranks.gather([str(folder.absolute()), config])
    for number, (_, theirs) in enumerate(told):
        if theirs != told[0][1]:
            raise ppo.config.options.ConfigError(f"rank {number} was given other words than rank 0")
    chosen = Path(told[0][0])
    if chosen != folder.absolute():
        _remove_if_empty(folder)
    return chosen


def restarting(train: Callable[[DictConfig, Run], float], cfg: DictConfig, run: Run) -> float:
    """``train``, once more from its checkpoint where a worker process was lost: to the bit what it would have been.

    What is lost twice in one update is not by chance: then, WorkerLost. Nor does one rank of several start again alone.
    """
    from ppo.run import ranks

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


def continued(cfg: DictConfig, words: Sequence[str], multirun: bool) -> tuple[Path, DictConfig]:
    """The folder and the configuration of the run that ``resume=`` names, with the other ``words`` put in."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if multirun:
        raise ppo.config.options.ConfigError("resume: a sweep goes on by its own command, which runs what is missing")
    folder = Path(cfg.resume)
    schema = OmegaConf.structured(ppo.config.schema.Config)
    before = cast(DictConfig, OmegaConf.merge(schema, OmegaConf.create(config_of(folder))))
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = override.key_or_group
        if OmegaConf.select(before, key, default=(missing := object())) is missing:
            raise ppo.config.options.ConfigError(f"{key}: cannot be put into the run that resume= names")
        OmegaConf.update(before, key, OmegaConf.select(cfg, key), merge=False)
    before.resume, before.trust = None, cfg.trust  # whom to trust is not for a run folder to say
    return folder, before


@contextmanager
def alone(folder: Path, config: dict) -> Generator[float | None, None, None]:
    """Hold the folder of a single run. Yields its result if it is finished already, else None.

    Of several ranks the first one holds it, and the others hear of the result.
    """
    from ppo.run import ranks

    if not ranks.first():
        yield ranks.gather(None)[0]
        return
    with hold(folder):
        done = ranks.gather(result(folder, config))[0]
        if done is not None:
            print(f"{folder}: finished already; a larger total_steps goes on with it", file=sys.stderr)
        yield done


@contextmanager
def libraries_kept() -> Generator[None, None, None]:
    """Meanwhile the garbage collector leaves alone what is there by now: 200,000 objects of imported modules. To look
    through them all, in search of garbage, halts a run for 0.1 s every now and then."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def arm(overrides: Sequence[str]) -> str:
    """What a comparison calls this job: all that was asked for but the seed and where it is logged."""
    return ",".join(o for o in overrides if not o.startswith(("seed=", "logger=", "logger.", "+sweep="))) or "default"


def main() -> None:
    """Errors that a person can mend come as one line and exit code 2; anything else is a bug and keeps its traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its errors through to us
    try:
        check_plugins(sys.argv[1:])
        if any(word.startswith("sequential=") for word in sys.argv[1:]):
            from ppo.sweep.sequential import main as until_decided

            sys.exit(until_decided(sys.argv[1:]))
        job()
    except (HydraException, OmegaConfBaseException, ppo.config.options.ConfigError, EnvError) as error:
        sys.exit(_end_of_sweep() or _say(error))
    except OSError as error:
        if not error.filename:  # then it is none of the disk's
            raise
        sys.exit(_end_of_sweep() or _say(OSError(f"{error.filename}: {error.strerror}")))
    except Interrupted as error:
        _end_of_sweep()
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        if not _end_of_sweep():
            raise
        sys.exit(1)
    sys.exit(_end_of_sweep())


def check_plugins(words: Sequence[str]) -> None:
    """Raise ConfigError where a launcher or a search is not installed: Hydra would speak of something else."""
    for word in words:
        plugin, extra = _EXTRAS.get(word, (None, None))
        if plugin and not find_spec(plugin):
            raise ppo.config.options.ConfigError(f"{word} needs an extra: pip install 'proximal[{extra}]'")
    if "hydra/launcher=slurm" in words and not shutil.which("sbatch"):
        raise ppo.config.options.ConfigError("hydra/launcher=slurm: there is no sbatch here; start it where Slurm is")


def _end_of_sweep() -> int:
    """After a multirun, say what became of its cells; 1 if some did not finish."""
    from rich.console import Console

    from ppo.sweep.cells import Sweep, report

    return min(1, report(Sweep.folder, Console(stderr=True))) if Sweep.folder else 0


def _say(error: Exception) -> int:
    """Print the error as one line; the exit code."""
    rank = os.environ.get("RANK", "0")
    print(f"{'' if rank == '0' else f'rank {rank}: '}error: {one_line(error)}", file=sys.stderr)
    return 2


def one_line(error: BaseException) -> str:
    """What was wrong and where, without the framework's advice for its own developers."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: no such option{suggest(name, error.options)}"
    cause = error.__cause__ if isinstance(error, HydraException) else None
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        if cause.full_key in MOVED:
            return f"{cause.full_key}: no longer a key; write {MOVED[cause.full_key]}"
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            known = [key for key in cause.parent_node or () if key != "_target_"]
            return f"{cause.full_key}: no such key or group{suggest(str(cause.key), known)}"
        return f"{cause.full_key}: {str(cause.msg or cause).splitlines()[0]}"
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__


def _remove_if_empty(folder: Path) -> None:
    """A refused run leaves nothing: Hydra has made its folder, and perhaps that of the day, before it was refused."""
    for path in (folder, folder.parent):
        try:
            path.rmdir()
        except OSError:
            return


if __name__ == "__main__":
    main()
