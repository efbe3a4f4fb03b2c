"""The command line of training. torch is imported only once a job runs: tab completion composes the configuration alone."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import ppo.config
from envs.base import EnvError


@hydra.main(version_base="1.3", config_path=str(Path(__file__).parents[1] / "conf"), config_name="config")
def job(cfg: DictConfig) -> float:
    """One run; in a multirun, one of many."""
    from ppo.logging.base import LoggerError, Run
    from ppo.train import train

    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    multirun = hydra_cfg.mode == RunMode.MULTIRUN
    run = Run(
        folder=folder,
        name=folder.name,
        config=ppo.config.plain(cfg),
        group=Path(hydra_cfg.sweep.dir).name if multirun else None,
        job_type=hydra_cfg.job.override_dirname or None if multirun else None,
    )
    try:
        return train(cfg, run)
    except (ppo.config.ConfigError, EnvError, LoggerError) as error:
        _remove_if_empty(folder)
        if multirun:
            raise
        sys.exit(_say(error))


def main() -> None:
    """Errors that a person can mend come as one line and exit code 2; anything else is a bug and keeps its traceback."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its errors through to us
    try:
        job()
    except (HydraException, OmegaConfBaseException, ppo.config.ConfigError, EnvError) as error:
        sys.exit(_say(error))


def _say(error: Exception) -> int:
    """Print the error as one line; the exit code."""
    lines = [line.strip() for line in str(error).splitlines()]
    print("error: " + " ".join(line for line in lines if line), file=sys.stderr)
    return 2


def _remove_if_empty(folder: Path) -> None:
    """A refused run leaves nothing: Hydra has made its folder, and perhaps that of the day, before it was refused."""
    for path in (folder, folder.parent):
        try:
            path.rmdir()
        except OSError:
            return


if __name__ == "__main__":
    main()
