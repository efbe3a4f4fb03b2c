"""Policies that wandb keeps: ``init=wandb:ENTITY/PROJECT/NAME[:ALIAS]`` names one, which is fetched once.

What ``logger.artifacts=true`` uploads is a run folder in small: its checkpoints, its configuration and the ONNX file. So
wherever a policy is taken from a run one of these can be named (``init=``, ``reference.run=``, ``ppo.load``, ``ppo.evaluate``,
``ppo.play``, export); metrics it has none, so that the doctor and the report need the run folder itself.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ppo.config.options import ConfigError
from ppo.logging.base import first_line, say

if TYPE_CHECKING:
    import wandb as sdk

SCHEME = "wandb:"
_PART = r"(?!\.+[/:]|\.+$)[A-Za-z0-9_.-]+"  # no dots alone: a folder has this name
_NAME = re.compile(rf"wandb:({_PART})/({_PART})/({_PART})(?::({_PART}))?")
_TIMEOUT = 30  # s that the server may take to answer


class Name(NamedTuple):
    """One artifact, or, with an alias such as ``latest``, what that is today."""

    entity: str
    project: str
    name: str
    alias: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.path}"

    @property
    def path(self) -> str:
        """As wandb writes it."""
        return f"{self.entity}/{self.project}/{self.name}:{self.alias}"


def is_one(text: object) -> bool:
    """Whether ``text`` names an artifact and no path."""
    return str(text).startswith(SCHEME)


def pinned(text: str) -> str:
    """``text`` with the version that its alias means today, which a run then keeps to. Raises ConfigError."""
    name = _parsed(text)
    if re.fullmatch(r"v\d+", name.alias):
        return str(name)
    return str(name._replace(alias=str(_found(name).version)))


def located(run: str | os.PathLike) -> Path:
    """The folder of an artifact, fetched where it is not here yet; any other path as it is. Raises ConfigError."""
    if not is_one(run):
        return Path(run)
    name = _parsed(str(run))
    folder = _cache(name)
    if not folder.is_dir():
        artifact = _found(name)
        folder = _cache(name._replace(alias=str(artifact.version)))
        if not folder.is_dir():
            _fetch(name, artifact, folder)
    return folder


def _parsed(text: str) -> Name:
    found = _NAME.fullmatch(text)
    if not found:
        raise ConfigError(f"{text}: needed is wandb:ENTITY/PROJECT/NAME or wandb:ENTITY/PROJECT/NAME:v0")
    entity, project, name, alias = found.groups()
    return Name(entity, project, name, alias or "latest")


def _cache(name: Name) -> Path:
    """Where an artifact is kept: of every server apart. An alias has no place."""
    if not re.fullmatch(r"v\d+", name.alias):
        return Path(os.devnull, "none")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exactkl" / "artifacts"
    server = re.sub(r"[^A-Za-z0-9.-]+", "_", _settings().base_url)
    return home.joinpath(server, *name)


def _settings() -> "sdk.Settings":
    import wandb as sdk

    return sdk.setup(settings=sdk.Settings(silent=True)).settings


def _found(name: Name) -> "sdk.Artifact":
    """What the server knows of it; never a prompt. Raises ConfigError."""
    import wandb as sdk

    _settings()
    if not sdk.login(prompt=False, verify=False):
        raise ConfigError(f"{name}: not logged in, see `wandb login`")
    try:
        return sdk.Api({"entity": name.entity}, timeout=_TIMEOUT).artifact(name.path)
    except Exception as error:  # whatever it is: the network, the server, a name that it does not know
        raise ConfigError(f"{name}: {first_line(error)}") from error


def _fetch(name: Name, artifact: "sdk.Artifact", folder: Path) -> None:
    """All of it into ``folder``, which appears whole; of several processes one is the first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    say(f"{name}: fetching {artifact.version} ({artifact.size / 1e6:.1f} MB)")
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetching-"))
    try:
        for inside in artifact.manifest.entries:
            if Path(inside).is_absolute() or ".." in Path(inside).parts:
                raise ConfigError(f"{name}: holds a file {inside}, outside of its folder")
        artifact.download(root=str(work), skip_cache=True)
        os.rename(work, folder)
    except ConfigError:
        raise
    except Exception as error:
        if not folder.is_dir():
            raise ConfigError(f"{name}: cannot be fetched: {first_line(error)}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
