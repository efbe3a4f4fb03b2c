"""Evaluation: whole episodes of a policy as it is, in environments of its own, its statistics frozen."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig

from envs.base import EnvError, VectorEnv, WorkerLost
from envs.chance import kept
from envs.device import hosted
from envs.device import make as build
from envs.fault import closing, keep
from ppo.config.options import strategy
from ppo.logging.base import first_line
from ppo.run.assemble import Parts
from ppo.run.episodes import play
from ppo.run.film import drawn, film
from ppo.run.policy import Act, deterministic, sampled, whole, worlds
from ppo.run.sink import Sink
from ppo.run.state import State


class Schedule(NamedTuple):
    """When to evaluate, and how."""

    every: int  # environment steps; 0: only at the end
    episodes: int  # of each evaluation; 0: no evaluation at all
    seed: int
    stochastic: bool  # sampled actions instead of the most likely ones
    max_steps: int  # of an episode
    rollout: int  # environment steps of an update
    total_steps: int

    def due(self, state: State) -> bool:
        """Whether one of the last update's environment steps was due, or training is over."""
        if self.episodes == 0 or state.updates == 0:
            return False
        passed = self.every > 0 and state.env_steps // self.every > (state.env_steps - self.rollout) // self.every
        return passed or state.env_steps >= self.total_steps


class Evaluation:
    """Evaluations beside training; a context manager that closes their environments.

    ``make(number of episodes)``. ``player(state)``: how the policy of ``state`` acts. What fails here costs the numbers of
    this evaluation and nothing else. ``sink``: None where nobody evaluates. ``shoot(state, file)`` films the first episode
    once more, in an environment of its own, so that the numbers are those of a run without films.
    """

    def __init__(
        self,
        sink: Sink | None,
        schedule: Schedule,
        make: Callable[[int], VectorEnv],
        player: Callable[[State, int], Act],
        shoot: Callable[[State, Path], object] | None = None,
    ):
        self._sink, self._schedule, self._make, self._player, self._shoot = sink, schedule, make, player, shoot
        self._envs: VectorEnv | None = None
        self._foreseen = False

    def __enter__(self) -> "Evaluation":
        return self

    def __exit__(self, *_) -> None:
        try:
            self._close()
        except EnvError as error:  # all numbers are there: no run fails by what comes after its end
            keep(error)
            if self._sink:
                self._sink.say(f"after the last evaluation: {first_line(error)}")

    def when_due(self, state: State) -> None:
        """Evaluate where the last update made it due and its row of metrics has no evaluation yet."""
        sink, schedule = self._sink, self._schedule
        if sink is None or not schedule.due(state) or sink.has("eval/return"):
            return
        self._foresee(sink)
        with kept():  # a simulator may draw from numbers that the process shares: training's go on as if nobody looked
            self._evaluate(sink, state)

    def _evaluate(self, sink: Sink, state: State) -> None:
        began = time.perf_counter()
        try:
            try:
                returns, lengths = self._play(state)
            except WorkerLost:  # made anew, the world may well go on: once
                with suppress(EnvError):
                    self._close()
                returns, lengths = self._play(state)
        except (EnvError, OSError, MemoryError) as error:
            with suppress(Exception):  # of a world that is broken already
                self._close()
            what = f"update {state.updates}: in an evaluation: {first_line(error)}"
            sink.remember("evaluation_failed", what)
            sink.warn("evaluation failed", f"{what}; training goes on without its numbers, eval.episodes=0 without any")
            return
        mean = float(returns.mean())
        metrics: dict[str, float | int | str] = {
            "eval/return": mean,
            "eval/std": float(returns.std(ddof=min(1, len(returns) - 1))),
            "eval/length": float(lengths.mean()),
            "eval/episodes": len(returns),
            "time/eval": time.perf_counter() - began,
        }
        if self._schedule.stochastic:
            metrics["eval/stochastic"] = 1
        sink.extend(metrics, mean)
        self._film(sink, state)

    def _film(self, sink: Sink, state: State) -> None:
        """The numbers are on the disk by now. The first film that fails is the last that is tried."""
        if self._shoot is None:
            return
        file = sink.folder / "videos" / f"step_{state.env_steps:010d}.mp4"
        try:
            self._shoot(state, file)
        except Exception as error:  # whatever a graphics library raises: training has nothing to do with it
            self._shoot = None
            sink.warn("no video", f"eval.video=true: {first_line(error)}; training goes on without videos")
        else:
            sink.video("eval/video", file)

    def _play(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        schedule = self._schedule
        if self._envs is None:
            self._envs = self._make(schedule.episodes)
        act = self._player(state, self._envs.num_envs)
        return play(self._envs, act, schedule.seed, schedule.episodes, max_steps=schedule.max_steps)

    def _foresee(self, sink: Sink) -> None:
        """An evaluation plays whole episodes; say so before the wait where training has not seen one."""
        if not (self._foreseen or sink.ever_had("train/return")):
            self._foreseen = True
            sink.say(
                "no episode has ended in training yet, and an evaluation plays them to their ends; one without an end is given "
                f"up after eval.max_steps={self._schedule.max_steps:,} steps. Where a task of env=gym has no time limit, "
                "env.kwargs.max_episode_steps=1000 sets one; eval.episodes=0 does without evaluations"
            )

    def _close(self) -> None:
        envs, self._envs = self._envs, None
        if envs is not None:
            envs.close()


def evaluating(cfg: DictConfig, parts: Parts, sink: Sink | None) -> Evaluation:
    """The evaluations that ``cfg`` asks for."""
    schedule = Schedule(
        every=cfg.eval.every,
        episodes=cfg.eval.episodes,
        seed=cfg.eval.seed,
        stochastic=cfg.eval.stochastic,
        max_steps=cfg.eval.max_steps,
        rollout=cfg.num_envs * cfg.num_steps,
        total_steps=cfg.total_steps,
    )
    env = whole(strategy("env", cfg.env, cfg.trust))

    def make(episodes: int) -> VectorEnv:
        count = worlds(env, episodes)
        made = build(env, count, min(cfg.workers, count), parts.flat.device)
        made.time_limit = cfg.env_timeout or math.inf
        return hosted(made)

    def player(state: State, rows: int) -> Act:
        normalise = parts.normaliser(state.obs_moments)
        if cfg.eval.stochastic:
            return sampled(parts.network, normalise, parts.to_world, rows, cfg.eval.seed)
        return deterministic(parts.network, normalise, parts.to_world)

    def shoot(state: State, file: Path) -> None:
        with closing(hosted(build(whole(drawn(cfg)), 1, 0, parts.flat.device))) as envs:
            film(envs, player(state, 1), cfg.eval.seed, file, max_steps=cfg.eval.max_steps)

    return Evaluation(sink, schedule, make, player, shoot if cfg.eval.video else None)
