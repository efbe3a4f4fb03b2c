"""What the ranks other than the first do where that one records."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from ppo.buffer.data import Batch
from ppo.logging.base import Run
from ppo.run import checkpoint, crash, ranks, resume
from ppo.run.assemble import Parts
from ppo.run.state import State
from ppo.update.loop import Halt
from ppo.update.optim import Learner


class Following:
    """What they have in place of a ``Record``: the same decisions, nothing written, nothing said."""

    def __init__(self, cfg: DictConfig, run: Run, parts: Parts):
        self._cfg, self._parts = cfg, parts

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_) -> None:
        pass

    def begin(self, state: State) -> tuple[State, np.ndarray]:
        """As ``Record.begin``; a checkpoint lies where the first rank says."""
        latest = ranks.gather(None)[0]
        if latest is None:
            obs = self._parts.envs.reset(self._cfg.seed)
            resume.freeze(state, self._parts)
            return state, obs
        saved = resume.Saved(Path(latest), *checkpoint.load(Path(latest)))
        return resume.thaw(self._cfg, saved, state, self._parts)

    def __call__(self, state: State, metrics: dict, halt: Halt | None) -> None:
        """Give the first rank what it saves of the environments here."""
        if spoilt := crash.not_finite(checkpoint.to_leaves(state)):
            raise crash.NonFinite(crash.describe({"statistics": spoilt}))
        resume.freeze(state, self._parts)

    def judge(self, before: Learner, after: Learner, halt: Halt | None, metrics: dict, batch: Batch) -> Learner:
        """As ``Record.judge``."""
        where = crash.place(halt, metrics, batch)
        if where is None:
            return after
        if self._cfg.on_nonfinite == "stop":
            raise crash.NonFinite(crash.describe(where))
        return crash.settled(self._cfg.on_nonfinite, before, after, halt)
