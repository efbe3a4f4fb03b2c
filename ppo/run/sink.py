"""Where a record goes: run folder, metrics, checkpoints, console, dashboard, crash bundles. Decides nothing."""

import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from omegaconf import OmegaConf
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.logging import jsonl
from ppo.logging.base import Forgiving, Logger, Run, first_line, say
from ppo.logging.console import Console
from ppo.logging.files import write_atomically
from ppo.logging.window import Window
from ppo.run import checkpoint, crash, ranks, resume
from ppo.run.folder import DiskError, run_json
from ppo.run.onnx_file import export
from ppo.run.provenance import provenance
from ppo.run.signals import Interrupted


class Finding(Protocol):
    """What a doctor found."""

    @property
    def cause(self) -> str: ...

    def line(self) -> str: ...


class Watch(Protocol):
    """A doctor who sees every row: ``watch(row)`` gives what is new, ``metrics(row)`` what is logged of it."""

    foreseen: list[str]

    def __call__(self, row: dict) -> Sequence[Finding]: ...

    def metrics(self, row: dict) -> dict[str, int]: ...


class Sink:
    """A context manager: opens the run folder, closes everything, and says in ``run.json`` how the run ended.

    ``config``: the run's, resolved, as plain containers. ``open_logger(run)`` starts the dashboard. ``headline``: what is
    trained, for the first line on the console. ``notes``: what should be known before the first step, a line each. ``own``:
    packages of the user's, whose code the run is made of.
    ``watch``: the doctor.
    ``plots``: a window, and ``run.png``.
    """

    def __init__(
        self,
        run: Run,
        config: dict[str, Any],
        open_logger: Callable[[Run], Logger],
        *,
        headline: str,
        notes: Sequence[str],
        own: Sequence[str],
        watch: Watch,
        plots: bool,
    ):
        self._watch: Watch | None = watch
        self._run, self._config, self._headline, self._notes, self._plots = run, config, headline, notes, plots
        self._open_logger, self._total, self._own = open_logger, config["total_steps"], own
        self._row: dict[str, Any] = {}  # of the last update, without lists
        self._seen: set[str] = set()  # names of metrics that there were by now
        self._best: float | None = None  # the best evaluation so far
        self._last: tuple[dict[str, Tensor], dict[str, Any]] = {}, {}  # what the last checkpoint holds
        self._updates = 0  # of the last checkpoint
        self.saved: resume.Saved | None = None  # what the run resumes from

    def __enter__(self) -> "Sink":
        folder = self._run.folder
        self.saved = resume.find(folder, self._config)
        self._facts: dict[str, Any] = {name: getattr(self._run, name) for name in ("name", "group", "job_type")}
        self._facts |= provenance(self._own) | {"ranks": ranks.size()} | self._earlier()
        self._window = Window(folder / "run.png", self._run.name, self._total) if self._plots else None
        self._logger = Forgiving(self._open_logger(self._run._replace(id=self._facts["logger_run_id"])))
        self._facts["logger_run_id"] = self._logger.run_id or self._facts["logger_run_id"]
        try:
            self._open(folder)
        except BaseException:
            self._logger.close({}, failed=True)
            raise
        self._console = Console(self._total, self.saved.meta["progress"]["env_steps"] if self.saved else 0)
        self.say(f"{self._run.name}: {self._headline}, {folder}")
        for note in self._notes:
            self.say(note)
        self._began = time.perf_counter() - (self.saved.meta.get("wall", 0.0) if self.saved else 0.0)
        return self

    def _earlier(self) -> dict[str, Any]:
        """What earlier attempts at this run left in run.json: the logger's id, and where each of them ended."""
        said = run_json(self._run.folder)
        resumed = said.get("resumed", [])
        if self.saved:
            before = {name: said.get(name) for name in ("git", "own", "command")}
            resumed = [*resumed, {"update": self.saved.updates} | before]
        return {"logger_run_id": said.get("logger_run_id"), "resumed": resumed}

    def _open(self, folder: Path) -> None:
        with self._disk():
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self._config)))
            self._write_status(status="running")
            if self.saved:
                jsonl.rewind(folder / "metrics.jsonl", self.saved.updates)
                for row in jsonl.read(folder / "metrics.jsonl"):  # the doctor and the picture know what was before
                    self._examine(row)
                    self._note(row)
                checkpoint.remove_torn(folder / "checkpoints")
                latest = checkpoint.find(folder)
                os.replace(self.saved.path, latest)  # a damaged latest must not become the one before
                self.saved = self.saved._replace(path=latest)  # where the other ranks are told to read it
                self._last, self._updates = (self.saved.tensors, self.saved.meta), self.saved.updates
            self._jsonl = jsonl.Jsonl(folder / "metrics.jsonl")

    def _note(self, row: dict[str, Any]) -> None:
        self._row = {name: value for name, value in row.items() if not isinstance(value, list)}
        self._seen |= row.keys()
        self._best = row.get("eval/best", self._best)
        if self._window:
            self._window.update(row)

    def __exit__(self, kind, error, trace) -> None:
        failed = kind is not None
        self._console.close()
        self._jsonl.close()
        if self._window and (file := self._window.close()):
            self._logger.picture("doctor", file)
        if self._logger.keeps and not failed:
            self._keep()
        self._logger.close(self._row, failed)
        reason = f"{kind.__name__}: {error}".splitlines()[0] if failed else None
        status = "interrupted" if failed and issubclass(kind, Interrupted) else "failed" if failed else "finished"
        with suppress(DiskError) if failed else nullcontext(), self._disk():
            self._write_status(status=status, reason=reason)

    def _keep(self) -> None:
        """Hand the policy to the dashboard, with its ONNX file where it can be exported."""
        folder, files = self._run.folder, ["config.yaml"]
        files += [f"checkpoints/{which}.safetensors" for which in ("latest", "best")]
        try:
            export(folder, folder / "policy.onnx", trust=self._config["trust"])
            files += ["policy.onnx", "policy.json"]
        except Exception as error:  # an extra that is not there, an environment that does not come up again
            self.say(f"logger.artifacts=true: without an ONNX file: {first_line(error)}")
        about = {name: value for name, value in self._row.items() if name in ("env_steps", "eval/return", "eval/best")}
        self._logger.keep(folder, [file for file in files if (folder / file).is_file()], about)

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        self._console.line(text)

    def warn(self, title: str, text: str) -> None:
        """A line that should not wait until the run is looked at: on the dashboard as well."""
        self.say(text)
        self._logger.alert(title, text)

    @property
    def folder(self) -> Path:
        """The run's."""
        return self._run.folder

    def video(self, name: str, file: Path) -> None:
        """An MP4 of the run folder, for the dashboard."""
        self._logger.video(name, file, self._row["env_steps"])

    def remember(self, name: str, value: str) -> None:
        """Something for ``run.json``, which is written at the end."""
        self._facts[name] = value

    @property
    def last(self) -> dict[str, Any]:
        """A copy of the last row."""
        return dict(self._row)

    def has(self, name: str) -> bool:
        """Whether the last row has this metric."""
        return name in self._row

    def ever_had(self, name: str) -> bool:
        """Whether any row of the run had this metric."""
        return name in self._seen

    def row(self, update: int, env_steps: int, metrics: dict[str, Any]) -> Sequence[Finding]:
        """The row of an update on the disk; the doctor's new findings."""
        row = {"update": update, "env_steps": env_steps, "time/wall": time.perf_counter() - self._began} | metrics
        found = self._examine(row)
        with self._disk():
            self._jsonl.log(row)
        self._note(row)
        return found

    def _examine(self, row: dict[str, Any]) -> Sequence[Finding]:
        """The doctor's new findings; puts its metrics into ``row``. A doctor who fails is sent home: the run goes on."""
        if self._watch is None:
            return []
        try:
            found = self._watch(row)
            row |= self._watch.metrics(row)
        except Exception as error:  # whatever it is, it is not training's
            self._watch = None
            say(f"doctor: failed, the run goes on without it: {type(error).__name__}: {first_line(error)}")
            return []
        return found

    def save(self, tensors: dict[str, Tensor], progress: dict[str, Any], *, numbered: bool) -> None:
        """The latest checkpoint, and if ``numbered`` one that stays. The latest last: a run that resumes from it finds the
        other made."""
        meta = {"progress": progress, "config": self._config, "wall": self._row.get("time/wall", 0.0)}
        folder = self._run.folder / "checkpoints"
        latest = folder / "latest.safetensors"
        with self._disk():
            if numbered:
                checkpoint.save(folder / f"step_{progress['env_steps']:010d}.safetensors", tensors, meta)
            checkpoint.save(latest, tensors, meta, keep=checkpoint.before(latest))
        self._last, self._updates = (tensors, meta), progress["updates"]

    def show(self) -> None:
        """The last row, on console and dashboard."""
        self._logger.log(self._row, self._row["env_steps"])
        self._console.update(self._row, self._row["env_steps"])

    def extend(self, metrics: dict[str, float | int | str], value: float) -> None:
        """The last row with an evaluation's ``metrics``; ``value``: how good it was. The best so far stays, as
        ``best.safetensors``: first, since a run that resumes takes an evaluation for done once its row has it."""
        best = self._best is None or value > self._best
        more = metrics | {"eval/best": value if best else self._best}
        tensors, meta = self._last
        with self._disk():
            if best:
                path = self._run.folder / "checkpoints" / "best.safetensors"
                checkpoint.save(path, tensors, meta | {"metrics": more})
            self._jsonl.extend(more)
        env_steps = self._row["env_steps"]
        self._note(self._row | more)
        self._logger.log(more, env_steps)
        self._console.update(more, env_steps)

    def crash(self, where: dict, batch: Batch | None) -> str:
        """Keep a bundle of the update after the last checkpoint; what to say of it."""
        update = self._updates + 1
        with self._disk():
            bundle = crash.write(self._run.folder, update, where, batch, self._facts)
        kept = f"; kept in {bundle}" if bundle else ""
        return f"update {update}: {crash.describe(where)}{kept}"

    @contextmanager
    def _disk(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            where, why = error.filename or self._run.folder, error.strerror or error
            raise DiskError(
                f"cannot write {where}: {why}; the checkpoint of update {self._updates} is whole"
            ) from error

    def _write_status(self, **status: Any) -> None:
        write_atomically(self._run.folder / "run.json", json.dumps(status | self._facts, indent=2) + "\n")
