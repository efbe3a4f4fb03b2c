"""TensorBoard: event files in the run folder (an extra)."""

import json
from typing import TYPE_CHECKING

from ppo.logging.base import Logger, Run, missing, say

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard(run: Run, *, flush_secs: int = 10) -> Logger:
    """Write event files to ``tensorboard/`` in the run folder; what is logged is on disk within ``flush_secs`` seconds.

    Raises LoggerError where the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise missing("tensorboard") from None
    folder = run.folder / "tensorboard"
    writer = SummaryWriter(str(folder), flush_secs=flush_secs)
    say(f"tensorboard: look at it with: tensorboard --logdir {folder}")
    return Tensorboard(run, writer)


class Tensorboard:
    """One folder of event files; the step is ``env_steps``. Numbers become scalars, text becomes text."""

    run_id: str | None = None

    def __init__(self, run: Run, writer: "SummaryWriter") -> None:
        self._writer = writer
        self._env_steps = 0
        about = {"name": run.name, "group": run.group, "job_type": run.job_type, "tags": list(run.tags)}
        self._write_json("config", about | {"config": run.config})

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Queue the row; a thread of the writer's puts it on the disk."""
        self._env_steps = env_steps
        for name, value in row.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, env_steps)
            else:
                self._writer.add_scalar(name, value, env_steps)

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Write the summary as text and flush."""
        self._write_json("summary", summary | {"failed": failed})
        self._writer.close()

    def _write_json(self, name: str, value: dict) -> None:
        text = json.dumps(value, indent=2, default=str).replace("\n", "\n    ")
        self._writer.add_text(name, f"    {text}", self._env_steps)  # indented by four: markdown for "as it is"
