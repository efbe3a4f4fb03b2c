"""Everything a run leaves on the disk and shows on the way: run folder, metrics, checkpoints, console, dashboard."""

import json
import os
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from ppo import checkpoint
from ppo.assemble import Parts, State
from ppo.config import ConfigError, plain, strategy
from ppo.doctor.finding import line
from ppo.doctor.watch import Watch
from ppo.logging.base import Forgiving, Run
from ppo.logging.console import Console
from ppo.logging.jsonl import Jsonl
from ppo.logging.provenance import provenance
from ppo.logging.window import Window
from ppo.network.normaliser import ObsNormaliser
from ppo.types import Batch, Transition, tree_map
from ppo.update.loop import Halt


class Record:
    """A context manager: opens the run folder, closes everything, and says in ``run.json`` how the run ended."""

    def __init__(self, cfg: DictConfig, run: Run, parts: Parts):
        self._cfg, self._run, self._parts = cfg, run, parts
        self._watch = Watch(plain(cfg))
        self._row: dict = {}
        self._saved = 0

    def __enter__(self) -> "Record":
        folder, cfg = self._run.folder, self._cfg
        if (folder / "metrics.jsonl").exists():
            raise ConfigError(f"{folder}: already holds a run; choose another folder (hydra.run.dir=...)")
        self._window = Window(folder / "run.png", self._run.name, cfg.total_steps) if cfg.plots else None
        self._logger = Forgiving(strategy("logger", cfg.logger, cfg.trust)(self._run))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        self._write_status(status="running")
        self._jsonl = Jsonl(folder / "metrics.jsonl")
        self._console = Console(cfg.total_steps)
        self._console.line(
            f"{self._run.name}: {self._parts.envs.name}, {self._parts.flat.numel():,} parameters, {folder}"
        )
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind, error, trace) -> None:
        failed = kind is not None
        self._console.close()
        self._jsonl.close()
        if self._window and (file := self._window.close()):
            self._logger.picture("doctor", file)
        self._logger.close(self._row, failed)
        reason = f"{kind.__name__}: {error}".splitlines()[0] if failed else None
        self._write_status(status="failed" if failed else "finished", reason=reason)

    def __call__(self, state: State, metrics: dict, halt: Halt | None) -> None:
        """Log an update, and save what is due."""
        row = {"update": state.updates, "env_steps": state.env_steps, "time/wall": time.perf_counter() - self._began}
        row |= metrics
        found = self._watch(row)
        row |= self._watch.metrics(row)
        self._jsonl.log(row)
        self._row = {name: value for name, value in row.items() if not isinstance(value, list)}
        self._logger.log(self._row, state.env_steps)
        self._console.update(self._row, state.env_steps)
        if halt:
            self._console.line(f"update {state.updates}: {explain(halt, self._cfg)}")
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
        self._save(state)

    def _save(self, state: State) -> None:
        tensors = checkpoint.to_tensors(state.learner, "learner")
        tensors |= checkpoint.to_tensors(state.obs_moments, "obs_moments")
        tensors |= checkpoint.to_tensors(state.reward_scale, "reward_scale")
        tensors["generator"] = self._parts.generator.get_state()
        progress = {name: value for name, value in state._asdict().items() if not isinstance(value, tuple)}
        meta = {
            "progress": progress,
            "config": plain(self._cfg),
            "metrics": {name: value for name, value in self._row.items() if name.startswith("eval/")},
        }
        folder = self._run.folder / "checkpoints"
        checkpoint.save(folder / "latest.safetensors", tensors, meta)
        if self._row.get("eval/return") is not None and self._row["eval/return"] == state.best:
            checkpoint.save(folder / "best.safetensors", tensors, meta)
        every = self._cfg.checkpoint.every
        if every and state.env_steps // every > self._saved // every:
            checkpoint.save(folder / f"step_{state.env_steps:010d}.safetensors", tensors, meta)
        self._saved = state.env_steps

    def _write_status(self, **status) -> None:
        path: Path = self._run.folder / "run.json"
        about = {"name": self._run.name, "group": self._run.group, "job_type": self._run.job_type}
        text = json.dumps(status | about | {"logger_run_id": self._logger.run_id} | provenance(), indent=2)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text + "\n")
        os.replace(temporary, path)


def describe(
    cfg: DictConfig,
    state: State,
    updated: dict,
    rollout: Transition,
    batch: Batch,
    episodes: list,
    seconds: tuple[float, float],
) -> dict[str, float]:
    """The metrics that the update, whose own are in ``updated``, cannot know: schedules, normalisers, episodes, speed.

    ``seconds``: what rollout and update took.
    """
    steps = len(batch.value)
    acted = tree_map(lambda x: x.flatten(0, 1).to(batch.value.device), rollout.policy)
    metrics: dict[str, float] = {
        "check/acting": batch.policy.distance(acted).item(),
        "lr": cast(float, state.lr),
        "clip/low": cast(float, state.clip_low),
        "clip/high": cast(float, state.clip_high),
        "reward/scale": state.reward_scale.moments.std.item() if cfg.normalise.reward else 1.0,
        "obs/clipped": (batch.obs.abs() >= cfg.normalise.clip_obs).float().mean().item() if cfg.normalise.obs else 0.0,
        "time/rollout": seconds[0],
        "time/update": seconds[1],
        "speed/rollout": steps / seconds[0],
        "speed/update": steps / seconds[1],
        "speed/total": steps / sum(seconds),
    }
    if state.demo_coef:
        metrics["bc/coef"] = state.demo_coef
    if state.beta:
        metrics["penalty/beta"] = state.beta
    if cfg.target_kl:
        metrics["kl/overshoot"] = updated["kl/final"] / cfg.target_kl - 1
    if episodes:
        returns, lengths = np.array(episodes).T
        metrics |= {
            "train/return": returns.mean(),
            "train/length": lengths.mean(),
            "train/episodes": len(episodes),
        }
    return metrics


@torch.no_grad()
def reference_metrics(parts: Parts, state: State, normalise: ObsNormaliser) -> dict[str, float]:
    """How strongly the reference pulled, and how far from it the policy is now where nothing was learned."""
    if parts.reference is None:
        return {}
    metrics = {"reference/coef": cast(float, state.reference_coef)}
    if parts.held_out is not None:
        policy = parts.network.policy(normalise(parts.held_out))
        kl = parts.reference.divergence(policy, parts.reference.policy(parts.held_out))
        metrics["reference/kl_held_out"] = kl.mean().item()
    return metrics


def explain(halt: Halt, cfg: DictConfig) -> str:
    """One line: why the update stopped; estimator, value, limit, epoch and minibatch."""
    where = f"epoch {halt.epoch}, minibatch {halt.minibatch}"
    if halt.reason == "nonfinite":
        return (
            f"stopped: a non-finite loss, gradient or KL at {where}; the step was refused, the weights are as before it"
        )
    if halt.reason == "ratio":
        return f"stopped before {where}: mean |ratio - 1| {halt.value:.4g} > {halt.limit:.4g}"
    estimator = "exact" if halt.reason == "rollback" else str(cfg.kl._target_).rsplit(".", 1)[-1]
    limit = f"{halt.limit:.4g} ({cfg.stop.factor:g} x target_kl {cfg.target_kl:g})"
    done = {"minibatch": "stopped before", "epoch": "stopped after", "rollback": "undid"}[halt.reason]
    where = f"epoch {halt.epoch}" if halt.reason == "rollback" else where
    return f"{done} {where}: {estimator} KL {halt.value:.4g} > {limit}"
