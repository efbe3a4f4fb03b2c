"""Weights & Biases: online where the machine is logged in, otherwise offline; never a prompt, never a long wait.

The mode is decided here because wandb's own way of deciding asks on a terminal, fails in a pipe, and waits a minute and
a half for a dead network. Its files live in the run folder; offline ones are uploaded later by ``wandb sync``.
"""

import shlex
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

from ppo.logging.base import Logger, LoggerError, Run, first_line, fitting, say
from ppo.logging.none import none

if TYPE_CHECKING:
    import wandb as sdk

_TAG = _JOB_TYPE = 64  # characters: the server refuses more
_NAME = 128


def wandb(
    run: Run,
    *,
    project: str,
    entity: str | None,
    group: str | None,
    job_type: str | None,
    tags: list[str],
    mode: Literal["auto", "online", "offline", "disabled"],
    id: str | None,
    timeout: Annotated[float, Gt(0)],
    finish_timeout: Annotated[float, Gt(0)],
    artifacts: bool,
) -> Logger:
    """Start a wandb run of its own, also where several live in one process.

    ``mode=auto`` follows WANDB_MODE or ``wandb offline``; failing those it is online when wandb finds credentials
    (WANDB_API_KEY, netrc, its settings) and the server answers within ``timeout`` seconds, and offline otherwise. Which
    one it became, and how to upload it, is said in one line on stderr. ``mode=online`` insists: it raises LoggerError
    instead of going offline. ``group`` and ``job_type`` take the place of what a multirun derives. ``id`` continues an
    earlier online run, as a resumed run does by itself. The end of a run waits at most ``finish_timeout`` seconds for its
    upload. ``artifacts`` keeps the policy at the end of the run.
    """
    try:
        import wandb as sdk  # half a second and more: only where it is used

        # Silent also means: never a prompt. Said before anything else, or it would greet on the console.
        environment = sdk.setup(settings=sdk.Settings(silent=True)).settings.mode
    except Exception as error:  # not installed, a WANDB_ variable it refuses, its service does not start
        what = " ".join(str(error).split())
        raise LoggerError(f"logger=wandb cannot start: {what}; logger=none does without") from error
    wanted = environment if mode == "auto" else mode
    if wanted == "disabled":
        return none(run)

    run.folder.mkdir(parents=True, exist_ok=True)  # wandb would move to a temporary folder without a word
    arguments: dict[str, Any] = {
        "dir": run.folder,
        "project": project,
        "entity": entity,
        "name": fitting(run.name, _NAME),
        "config": run.config,
        "group": fitting(group or run.group or "", _NAME) or None,
        "job_type": fitting(job_type or run.job_type or "", _JOB_TYPE) or None,
        "tags": [fitting(tag, _TAG) for tag in dict.fromkeys(tags)],
        "id": id or _on_the_server(run),
        "resume": "allow" if id or _on_the_server(run) else None,
        "reinit": "create_new",  # the default hands out the previous run again
        "settings": sdk.Settings(
            silent=True,
            console="off",
            init_timeout=timeout,
            finish_timeout=finish_timeout,
            finish_timeout_raises=True,
        ),
    }
    why = ""
    if wanted not in ("offline", "dryrun"):
        try:
            if sdk.login(prompt=False, verify=False):
                handle = sdk.init(mode="online", **arguments)
                say(f"wandb: online, {handle.url}")
                return Wandb(handle, artifacts)
            why = "not logged in, see `wandb login`"
        except Exception as error:  # whatever it is, offline may still work
            why = first_line(error)
        if mode == "online":
            raise LoggerError(f"logger.mode=online is not possible: {why}; logger.mode=auto would go offline")
    arguments |= {"resume": None, "id": id}  # an earlier part keeps its id to itself
    try:
        handle = sdk.init(mode="offline", **arguments)
    except Exception as error:  # a full disk, a name that wandb refuses
        raise LoggerError(f"logger=wandb cannot start: {first_line(error)}; logger=none does without") from error
    say(f"wandb: offline{f' ({why})' if why else ''}; upload with: wandb sync {shlex.quote(str(_folder(handle)))}")
    return Wandb(handle, artifacts)


def _on_the_server(run: Run) -> str | None:
    """The id of the run that this one continues, unless it is kept offline: parts of one id, uploaded one after the other,
    would each take the place of the one before. They become runs of their own, of one name."""
    kept = [*(run.folder / "wandb").glob(f"offline-run-*-{escape(run.id)}")] if run.id else []
    return None if kept else run.id


class Wandb:
    """One wandb run. The x axis of every metric is ``env_steps``."""

    def __init__(self, handle: "sdk.Run", keeps: bool) -> None:
        self._handle, self.keeps = handle, keeps
        self.run_id: str | None = handle.id
        handle.define_metric("env_steps")
        handle.define_metric("*", step_metric="env_steps")

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Hand the row to wandb's own process: a few milliseconds, whatever the network does."""
        self._handle.log(row | {"env_steps": env_steps})

    def alert(self, title: str, text: str) -> None:
        """An alert of wandb's: shown at the run, and sent to whoever asked for alerts."""
        self._handle.alert(title=title, text=text, level="WARN")

    def picture(self, name: str, file: Path) -> None:
        """An image among the run's media."""
        import wandb as sdk

        self._handle.log({name: sdk.Image(str(file))})

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """A film among the run's media, copied as it is."""
        import wandb as sdk

        self._handle.log({name: sdk.Video(str(file), format="mp4"), "env_steps": env_steps})

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """A version of the artifact that has the run's id in its name; offline it is uploaded by ``wandb sync`` as well."""
        import wandb as sdk

        handle = self._handle
        artifact = sdk.Artifact(f"policy-{handle.id}", type="model", metadata=about)
        for file in files:
            artifact.add_file(str(folder / file), name=file)
        handle.log_artifact(artifact)
        where = f"{handle.entity or 'ENTITY'}/{handle.project}/{artifact.name}"
        say(f"wandb: the policy is kept; init=wandb:{where} starts from it")

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Upload what is left. Raises TimeoutError, saying how to upload the rest, when that takes too long."""
        self._handle.summary.update(summary)
        try:
            self._handle.finish(exit_code=int(failed))
        except TimeoutError:
            raise TimeoutError(
                f"upload not finished; do it later with: wandb sync {shlex.quote(str(_folder(self._handle)))}"
            ) from None


def _folder(handle: "sdk.Run") -> Path:
    """What ``wandb sync`` wants to be given."""
    return Path(handle.dir).parent
