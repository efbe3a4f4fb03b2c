"""A search that was stopped can be resumed: ``+sweep=search`` keeps its study in the sweep's folder."""

import warnings
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from ppo.run import signals


class Search(Callback):
    """Hydra's callback: before Optuna's sweeper starts, asks for the trials that the study still lacks."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """In the process that was started, before the first trial."""
        Path(config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        sweeper = config.hydra.sweeper
        with read_write(config):
            sweeper.n_trials = left(sweeper.storage, sweeper.study_name, sweeper.n_trials)
        stop_when_asked()


def stop_when_asked() -> None:
    """Have Optuna's sweeper end where this process was asked to: by itself it would take the trials that were interrupted for
    failed ones and draw all that are left. As they are, the next start asks for them again."""
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    sweep = getattr(OptunaSweeperImpl.sweep, "__wrapped__", OptunaSweeperImpl.sweep)

    @wraps(sweep)
    def stopping(self: Any, arguments: list[str]) -> None:
        launch = self.launcher.launch

        def launch_and_look(*args: Any, **options: Any) -> Any:
            results = launch(*args, **options)
            signals.check()
            return results

        self.launcher.launch = launch_and_look
        sweep(self, arguments)

    setattr(OptunaSweeperImpl, "sweep", stopping)  # noqa: B010  Hydra takes no sweeper but from a package of plugins


def left(storage: str, name: str, trials: int) -> int:
    """How many trials the study ``name`` lacks of ``trials`` finished ones.

    Trials that were running when the last start ended are queued first: a cell that has finished since is not run
    again, but gives its result.
    """
    import optuna
    from optuna.exceptions import ExperimentalWarning
    from optuna.trial import TrialState

    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's word for its queue
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
    return max(0, trials - len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))
