"""Trackio: a web dashboard on this machine, without an account (an extra)."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from contextvars import Context
from pathlib import Path
from typing import Any

from ppo.logging.base import Logger, Run, missing, say


def trackio(run: Run, *, project: str, group: str | None) -> Logger:
    """Add the run to ``project`` in trackio's own database (TRACKIO_DIR, or a folder of trackio's choice).

    One database for all runs, not one a folder: the dashboard compares what lies in one project. ``group`` takes the
    place of what a multirun derives. Raises LoggerError where the package is not installed.
    """
    try:
        import trackio as sdk
    except ImportError:
        raise missing("trackio") from None
    about = {"folder": str(run.folder), "job_type": run.job_type}
    with redirect_stdout(io.StringIO()):  # it greets at length
        # In a context of its own, trackio does not know it as "the" run, which the next one or the exit would end.
        handle = Context().run(
            sdk.init,
            project=project,
            name=run.name,
            group=group or run.group,
            config=run.config | {"run": about},
            resume="allow" if _is_latest(project, run) else "never",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    say(f"trackio: look at it with: trackio show --project {project}")
    return Trackio(handle)


def _is_latest(project: str, run: Run) -> bool:
    """Whether the run goes on with the latest of its name: trackio takes that one, and cells of two sweeps have one name. A run
    that is not becomes two, as the parts of one that wandb keeps offline."""
    from trackio.sqlite_storage import SQLiteStorage

    latest = SQLiteStorage.get_latest_run_record_by_name(project, run.name) if run.id else None
    return latest is not None and latest["id"] == run.id


class Trackio:
    """One trackio run; the step is ``env_steps``. A row takes 0.03 ms: a thread of trackio's writes it."""

    keeps = False

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.run_id: str | None = handle.id

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Queue the row."""
        self._handle.log(dict(row), step=env_steps)

    def alert(self, title: str, text: str) -> None:
        """An alert of trackio's."""
        with redirect_stdout(io.StringIO()):
            self._handle.alert(title, text)

    def picture(self, name: str, file: Path) -> None:
        """An image of trackio's."""
        import trackio as sdk

        self._handle.log({name: sdk.Image(str(file))})

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """A film of trackio's, copied as it is."""
        import trackio as sdk

        self._handle.log({name: sdk.Video(str(file))}, step=env_steps)

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """Do nothing: the run folder has them."""

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Write what is queued. There is no summary and no exit status in trackio: a failed run gets an alert."""
        with redirect_stdout(io.StringIO()):
            if failed:
                self._handle.alert("run failed")
            self._handle.finish()
