"""Everything a run leaves on the disk and shows on the way: run folder, metrics, checkpoints, console, dashboard."""

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from envs.base import NotFinite
from ppo.buffer.data import Batch
from ppo.config.options import plain, strategy
from ppo.doctor.finding import line
from ppo.doctor.watch import Watch
from ppo.logging import jsonl
from ppo.logging.base import Forgiving, Run
from ppo.logging.console import Console
from ppo.logging.window import Window
from ppo.run import checkpoint, crash, ranks, resume
from ppo.run.assemble import Parts
from ppo.run.describe import explain
from ppo.run.folder import DiskError, about
from ppo.run.provenance import provenance
from ppo.run.signals import Interrupted
from ppo.run.state import State
from ppo.update.loop import Halt
from ppo.update.optim import Learner


class Record:
    """A context manager: opens the run folder, closes everything, and says in ``run.json`` how the run ended."""

    def __init__(self, cfg: DictConfig, run: Run, parts: Parts):
        self._cfg, self._run, self._parts = cfg, run, parts
        self._plain = plain(cfg)  # takes a millisecond
        self._watch = Watch(self._plain)
        self._kl = str(cfg.kl._target_).rsplit(".", 1)[-1]
        self._row: dict = {}
        self._saved_steps = self._updates = 0  # of the latest checkpoint

    def __enter__(self) -> "Record":
        folder, cfg = self._run.folder, self._cfg
        self._from = resume.find(folder, cfg)
        self._about: dict = {"name": self._run.name, "group": self._run.group, "job_type": self._run.job_type}
        self._about |= provenance() | {"ranks": ranks.size()} | self._earlier()
        self._window = Window(folder / "run.png", self._run.name, cfg.total_steps) if cfg.plots else None
        self._logger = Forgiving(
            strategy("logger", cfg.logger, cfg.trust)(self._run._replace(id=self._about["logger_run_id"]))
        )
        self._about["logger_run_id"] = self._logger.run_id
        try:
            self._open(folder)
        except BaseException:
            self._logger.close({}, failed=True)
            raise
        self._console = Console(cfg.total_steps, self._from.meta["progress"]["env_steps"] if self._from else 0)
        self._console.line(
            f"{self._run.name}: {self._parts.envs.name}, {self._parts.flat.numel():,} parameters, {folder}"
        )
        self._began = time.perf_counter()
        return self

    def _open(self, folder: Path) -> None:
        with self._disk():
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / "config.yaml", OmegaConf.to_yaml(self._cfg, resolve=True))
            self._write_status(status="running")
            if self._from:
                jsonl.rewind(folder / "metrics.jsonl", self._from.updates)
                for row in jsonl.read(folder / "metrics.jsonl"):  # the doctor and the picture know what was before
                    self._watch(row)
                    if self._window:
                        self._window.update(row)
                checkpoint.remove_torn(folder / "checkpoints")
                os.replace(self._from.path, checkpoint.find(folder))  # a damaged latest must not become the one before
            self._jsonl = jsonl.Jsonl(folder / "metrics.jsonl")

    def begin(self, state: State) -> tuple[State, np.ndarray]:
        """The state to begin with, and the observations: of the run that is gone on with, else ``state`` and a reset."""
        ranks.gather(str(checkpoint.find(self._run.folder)) if self._from else None)
        if self._from is None:
            obs = self._parts.envs.reset(self._cfg.seed)
            frozen = resume.freeze(state, self._parts)
            with self._disk():
                self._save(state, *frozen)
            return state, obs
        state, obs = resume.thaw(self._cfg, self._from, state, self._parts)
        self._began -= self._from.meta.get("wall", 0.0)
        self._saved_steps, self._updates = state.env_steps, state.updates
        self._console.line(f"goes on after update {state.updates}")
        return state, obs

    def __exit__(self, kind, error, trace) -> None:
        failed = kind is not None
        if isinstance(error, NotFinite):
            with suppress(DiskError, checkpoint.CheckpointError):  # what failed first is what is told
                self._console.line(self._keep_crash({"rollout": str(error)}, None))
        self._console.close()
        self._jsonl.close()
        if self._window and (file := self._window.close()):
            self._logger.picture("doctor", file)
        self._logger.close(self._row, failed)
        reason = f"{kind.__name__}: {error}".splitlines()[0] if failed else None
        status = "interrupted" if kind is Interrupted else "failed" if failed else "finished"
        with suppress(DiskError) if failed else nullcontext(), self._disk():
            self._write_status(status=status, reason=reason)

    def __call__(self, state: State, metrics: dict, halt: Halt | None) -> None:
        """Log an update, and save what is due."""
        row = {"update": state.updates, "env_steps": state.env_steps, "time/wall": time.perf_counter() - self._began}
        row |= metrics
        if spoilt := crash.not_finite(checkpoint.to_leaves(state)):
            raise crash.NonFinite(self._keep_crash({"statistics": spoilt}, None))
        frozen = resume.freeze(state, self._parts)  # a worker that died meanwhile is noticed before the row is written
        found = self._watch(row)
        row |= self._watch.metrics(row)
        self._row = {name: value for name, value in row.items() if not isinstance(value, list)}
        with self._disk():
            self._jsonl.log(row)
            self._save(state, *frozen)
        self._logger.log(self._row, state.env_steps)
        self._console.update(self._row, state.env_steps)
        if halt:
            self._console.line(f"update {state.updates}: {explain(halt, kl=self._kl, target_kl=self._cfg.target_kl)}")
        for finding in found:
            self._console.line(f"update {state.updates}: {line(finding)}")
            self._logger.alert(f"doctor: {finding.cause}", line(finding))
        if self._window:
            self._window.update(row)
        if self._row.get("bc/ppo_ratio", 0.0) > 2:
            ratio = f"{self._row['bc/ppo_ratio']:.1f} times the size of the PPO loss"
            self._console.line(
                f"update {state.updates}: the demonstrations' term is {ratio}; lower demo.coef or set demo.adaptive=true"
            )

    def judge(self, before: Learner, after: Learner, halt: Halt | None, metrics: dict, batch: Batch) -> Learner:
        """The learner to go on with: ``after``, unless a number of the update was not finite. Then a bundle is written
        and it is as ``on_nonfinite`` says."""
        where = crash.place(halt, metrics, batch)
        if where is None:
            return after
        said = self._keep_crash(where, batch)
        if self._cfg.on_nonfinite == "stop":
            raise crash.NonFinite(said)
        self._console.line(said)
        return crash.settled(self._cfg.on_nonfinite, before, after, halt)

    def _keep_crash(self, where: dict, batch: Batch | None) -> str:
        update = self._updates + 1
        with self._disk():
            bundle = crash.write(self._run.folder, update, where, batch, self._about)
        kept = f"; kept in {bundle}" if bundle else ""
        return f"update {update}: {crash.describe(where)}{kept}"

    def _save(self, state: State, tensors: dict[str, Tensor], progress: dict) -> None:
        """The latest last: a run that goes on from it finds the others made."""
        meta = {
            "progress": progress,
            "config": self._plain,
            "metrics": {name: value for name, value in self._row.items() if name.startswith("eval/")},
            "wall": self._row.get("time/wall", 0.0),
        }
        folder = self._run.folder / "checkpoints"
        every = self._cfg.checkpoint.every
        if every and state.env_steps // every > self._saved_steps // every:
            checkpoint.save(folder / f"step_{state.env_steps:010d}.safetensors", tensors, meta)
        if self._row.get("eval/return") is not None and self._row["eval/return"] == state.best:
            checkpoint.save(folder / "best.safetensors", tensors, meta)
        latest = folder / "latest.safetensors"
        checkpoint.save(latest, tensors, meta, keep=checkpoint.before(latest))
        self._saved_steps, self._updates = state.env_steps, state.updates

    @contextmanager
    def _disk(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            where, why = error.filename or self._run.folder, error.strerror or error
            raise DiskError(
                f"cannot write {where}: {why}; the checkpoint of update {self._updates} is whole"
            ) from error

    def _earlier(self) -> dict:
        """What earlier attempts at this run left in run.json: the logger's id, and where each of them was gone on from."""
        said = about(self._run.folder)
        resumed = said.get("resumed", [])
        if self._from:
            resumed = [*resumed, {"update": self._from.updates, "git": said.get("git"), "command": said.get("command")}]
        return {"logger_run_id": said.get("logger_run_id"), "resumed": resumed}

    def _write_status(self, **status) -> None:
        _replace(self._run.folder / "run.json", json.dumps(status | self._about, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a small file so that it is never seen in part."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
