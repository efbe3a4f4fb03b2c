"""TensorBoard: event files in the run folder (an extra)."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge

from ppo.logging.base import Logger, Run, missing, say
from ppo.logging.panels import PANELS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


_GIF_FPS, _GIF_WIDTH, _GIF_SECONDS = 15, 240, 20


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


def _gif(film: Path) -> tuple[int, int, bytes]:
    """(height, width, a GIF of the film): at most ``_GIF_FPS`` frames a second, ``_GIF_WIDTH`` wide, ``_GIF_SECONDS``."""
    import imageio.v3 as imageio  # came with what filmed it
    from PIL import Image

    fps = float(imageio.immeta(film)["fps"])
    stride = max(1, round(fps / _GIF_FPS))
    frames = []
    for number, pixels in enumerate(imageio.imiter(film)):
        if number >= fps * _GIF_SECONDS:
            break
        if number % stride == 0:
            frame = Image.fromarray(pixels)
            frame.thumbnail((_GIF_WIDTH, _GIF_WIDTH))
            frames.append(frame)
    written = io.BytesIO()
    frames[0].save(written, "gif", save_all=True, append_images=frames[1:], duration=1000 * stride / fps, loop=0)
    return frames[0].height, frames[0].width, written.getvalue()


class Tensorboard:
    """One folder of event files; the step is ``env_steps``. Numbers become scalars, text becomes text."""

    run_id: str | None = None
    keeps = False

    def __init__(self, run: Run, writer: "SummaryWriter") -> None:
        self._writer = writer
        self._env_steps = 0
        about = {"name": run.name, "group": run.group, "job_type": run.job_type}
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

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """A GIF, small and in real time, at this step: TensorBoard shows no other films."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, gif = _gif(file)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        writer = self._writer._get_file_writer()  # add_video wants moviepy, and all frames at once
        writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), env_steps)

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """Do nothing: the run folder has them."""

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Write the summary as text and flush."""
        self._write_json("summary", summary | {"failed": failed})
        self._writer.close()

    def _write_json(self, name: str, value: dict) -> None:
        text = json.dumps(value, indent=2, default=str).replace("\n", "\n    ")
        self._writer.add_text(name, f"    {text}", self._env_steps)  # indented by four: markdown for "as it is"
