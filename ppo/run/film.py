"""An episode as a video, in the time that it takes: as many frames a second as the environment says it draws."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from envs.base import VectorEnv
from ppo.config.extras import needs
from ppo.config.options import ConfigError
from ppo.logging.files import write_atomically
from ppo.run.evaluation import Act, play

_GIF_FPS = 50  # more, and viewers show a GIF in slow motion
_FPS = 30.0  # of an environment that names no other


def check_path(path: Path) -> None:
    """Raise ConfigError where no video can be written to ``path``."""
    try:
        import imageio.v3  # noqa: F401
    except ImportError as error:
        raise ConfigError(needs("--video", "video")) from error
    if path.suffix not in (".mp4", ".gif"):
        raise ConfigError(f"--video {path}: the file must end in .mp4 or .gif")


def film(envs: VectorEnv, act: Act, seed: int, path: Path, *, max_steps: int = 100_000) -> str:
    """Play an episode in the first sub-environment, made with ``render_mode="rgb_array"``, and write the states that were
    acted on to ``path``; what was written, in words. Raises EnvError where the environment does not draw."""
    frames: list[np.ndarray] = []
    play(envs, act, seed, 1, lambda: frames.append(envs.render().copy()), max_steps=max_steps)
    fps = envs.fps or _FPS
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (_gif if path.suffix == ".gif" else _mp4)(np.stack(frames), fps))
    return f"video: {path} ({len(frames)} states, {len(frames) / fps:.2f} s at {fps:g} a second)"


def _gif(frames: np.ndarray, fps: float) -> bytes:
    """Whole hundredths of a second a frame, which add up to the right time."""
    import imageio.v3 as imageio

    stride = int(np.ceil(fps / _GIF_FPS))
    starts = np.round(100 * np.arange(0, len(frames) + stride, stride).clip(max=len(frames)) / fps)
    written, durations = io.BytesIO(), (10 * np.diff(starts)).tolist()
    options: dict[str, Any] = {"duration": durations if len(durations) > 1 else durations[0], "loop": 0}
    imageio.imwrite(written, frames[::stride], extension=".gif", **options)
    return written.getvalue()


def _mp4(frames: np.ndarray, fps: float) -> bytes:
    """H.264 has colour for squares of two by two: an odd row or column is drawn twice."""
    import imageio.v3 as imageio

    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return imageio.imwrite("<bytes>", frames, extension=".mp4", fps=fps, macro_block_size=2)  # type: ignore[return-value]
