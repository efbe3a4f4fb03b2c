"""TensorBoard: event files in the run folder (an extra)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from ppo.logging.base import Logger, Run, missing, say
from ppo.logging.panels import PANELS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard(run: Run, *, flush_secs: Annotated[int, Ge(1)]) -> Logger:
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
        panels = {title: [*lines, *dots] for title, lines, dots in PANELS}
        panels["band of the KL, causes found"] = ["doctor/band", "doctor/findings"]
        # A name is taken as the beginning of a pattern: kl/final alone would show kl/final_reverse as well.
        charts = {title: ["Multiline", [f"{name}$" for name in names]] for title, names in panels.items()}
        writer.add_custom_scalars({"doctor": charts})

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Queue the row; a thread of the writer's puts it on the disk."""
        self._env_steps = env_steps
        for name, value in row.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, env_steps)
            else:
                self._writer.add_scalar(name, value, env_steps)

    def alert(self, title: str, text: str) -> None:
        """Text at the current step: TensorBoard alerts nobody."""
        self._writer.add_text(f"alert/{title}", text, self._env_steps)

    def picture(self, name: str, file: Path) -> None:
        """An image at the current step."""
        from PIL import Image  # came with what drew it

        pixels = np.array(Image.open(file).convert("RGB"))
        self._writer.add_image(name, pixels, self._env_steps, dataformats="HWC")

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Write the summary as text and flush."""
        self._write_json("summary", summary | {"failed": failed})
        self._writer.close()

    def _write_json(self, name: str, value: dict) -> None:
        text = json.dumps(value, indent=2, default=str).replace("\n", "\n    ")
        self._writer.add_text(name, f"    {text}", self._env_steps)  # indented by four: markdown for "as it is"
