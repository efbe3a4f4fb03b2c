"""An episode as a video, in the time that it takes: as many frames a second as the environment says it draws."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from envs.base import EnvError, VectorEnv
from ppo.config.extras import needs
from ppo.config.options import ConfigError, strategy
from ppo.run.episodes import FPS, MAX_STEPS, play
from ppo.run.policy import Act

_GIF_FPS = 50  # more, and viewers show a GIF in slow motion


def check_path(path: Path, what: str = "--video") -> None:
    """Raise ConfigError where no video can be written to ``path``; ``what`` asked for it."""
    check_installed(what)
    if path.suffix not in (".mp4", ".gif"):
        raise ConfigError(f"{what} {path}: the file must end in .mp4 or .gif")


def drawn(cfg: DictConfig) -> partial:
    """The environment of ``cfg`` as it is drawn: what ``eval.video`` films. Raises ConfigError where that cannot be."""
    check_installed("eval.video=true")
    if "render_mode" not in cfg.env:
        name = str(cfg.env["_target_"]).rpartition(".")[2]
        raise ConfigError(f"eval.video=true: env={name} has no render_mode, so it cannot be drawn; eval.video=false")
    return strategy("env", cast(DictConfig, OmegaConf.merge(cfg.env, {"render_mode": "rgb_array"})), cfg.trust)


def check_installed(what: str) -> None:
    """Raise ConfigError where ``what`` asks for a video and the libraries are not there."""
    if not all(find_spec(name) for name in ("imageio", "imageio_ffmpeg", "PIL")):
        raise ConfigError(needs(what, "video"))


def film(envs: VectorEnv, act: Act, seed: int, path: Path, *, max_steps: int = MAX_STEPS) -> str:
    """Play an episode in the first sub-environment, made with ``render_mode="rgb_array"``, and write the states that were
    acted on to ``path``; what was written, in words. Raises EnvError where the environment does not draw.

    A frame is written as it comes: an hour of film needs no more memory than a second (a GIF does)."""
    fps, states = envs.fps or FPS, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as part, (_gif if path.suffix == ".gif" else _mp4)(part, fps) as add:

        def shoot() -> None:
            nonlocal states
            add(envs.render())
            states += 1

        play(envs, act, seed, 1, shoot, max_steps=max_steps)
    return f"video: {path} ({states} states, {states / fps:.2f} s at {fps:g} a second)"


@contextmanager
def _whole(path: Path) -> Generator[Path, None, None]:
    """A file beside ``path`` that takes its place once it is whole; nothing is left of one that is not."""
    part = path.with_name(f".{path.stem[:100]}.{os.getpid()}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _gif(path: Path, fps: float) -> Generator[Callable[[np.ndarray], None], None, None]:
    """Whole hundredths of a second a frame, which add up to the right time."""
    import imageio.v3 as imageio

    frames: list[np.ndarray] = []
    states, stride = 0, int(np.ceil(fps / _GIF_FPS))

    def add(frame: np.ndarray) -> None:
        nonlocal states
        if states % stride == 0:
            frames.append(frame.copy())
        states += 1

    yield add
    starts = np.round(100 * np.arange(0, states + stride, stride).clip(max=states) / fps)
    durations = (10 * np.diff(starts)).tolist()
    options: dict[str, Any] = {"duration": durations if len(durations) > 1 else durations[0], "loop": 0}
    imageio.imwrite(path, np.stack(frames), **options)


@contextmanager
def _mp4(path: Path, fps: float) -> Generator[Callable[[np.ndarray], None], None, None]:
    """H.264 has colour for squares of two by two: an odd row or column is drawn twice."""
    import imageio_ffmpeg

    writer: Generator[None, bytes | None, None] | None = None
    shape: tuple[int, ...] = ()

    def add(frame: np.ndarray) -> None:
        nonlocal writer, shape
        height, width = frame.shape[:2]
        if writer is None:
            shape, size = frame.shape, (width + width % 2, height + height % 2)
            writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, macro_block_size=2)
            writer.send(None)
        if frame.shape != shape:
            raise EnvError(f"render() gave a picture of shape {frame.shape} after one of {shape}; a film has one size")
        writer.send(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").tobytes())

    try:
        yield add
    finally:
        if writer is not None:
            writer.close()
