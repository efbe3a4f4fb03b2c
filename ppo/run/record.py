"""What is decided after every update: whether its numbers are finite, and if not what becomes of it; what is written; when
to save. Every rank decides alike; the first one has a sink as well, in which it stays."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig

from envs.base import NotFinite
from ppo.buffer.data import Batch
from ppo.config.options import plain, strategy
from ppo.control.match import Match
from ppo.logging.base import Run
from ppo.run import checkpoint, crash, ranks, resume
from ppo.run.assemble import Parts
from ppo.run.build import trusted
from ppo.run.describe import explain
from ppo.run.effects import said
from ppo.run.folder import DiskError
from ppo.run.signals import Ended
from ppo.run.sink import Sink, Watch
from ppo.run.state import State
from ppo.update.loop import Halt
from ppo.update.optim import Learner


class Record:
    """A context manager. ``sink``: None on every rank but the first.

    ``on_nonfinite``: stop, skip or rollback. ``every``: environment steps between numbered checkpoints; 0: none.
    ``explain(halt)``: in words, why an update stopped. ``match``: what match_kl= asks for.
    """

    def __init__(
        self,
        sink: Sink | None,
        generator: torch.Generator,
        *,
        on_nonfinite: str,
        every: int,
        explain: Callable[[Halt], str],
        match: Match | None = None,
    ):
        self.sink, self._generator, self._every = sink, generator, every
        self._on_nonfinite, self._explain, self._match = on_nonfinite, explain, match
        self._saved_steps = 0  # of the latest checkpoint
        self._explained: set[str] = set()  # reasons of stops that were said in full

    def __enter__(self) -> "Record":
        if self.sink:
            self.sink.__enter__()
        return self

    def __exit__(self, kind, error, trace) -> None:
        if not self.sink:
            return
        if isinstance(error, NotFinite):
            with suppress(DiskError):  # what failed first is what is reported
                self.sink.say(self._crash({"rollout": str(error)}, None))
        self.sink.__exit__(kind, error, trace)

    @property
    def saved(self) -> resume.Saved | None:
        """What the first rank found to resume from; None on the others, too."""
        return self.sink.saved if self.sink else None

    def resumed(self, state: State, note: str = "") -> None:
        """Say where the run resumes; ``note``: what changes there."""
        self._saved_steps = state.env_steps
        if self.sink:
            self.sink.say(f"resumes after update {state.updates}" + (f"; {note}" if note else ""))

    def judge(self, before: Learner, after: Learner, halt: Halt | None, metrics: dict, batch: Batch) -> Learner:
        """The learner to go on with: ``after``, unless a number of the update was not finite. Then a bundle is written,
        and ``on_nonfinite`` decides. Raises NonFinite."""
        where = crash.place(halt, metrics, batch)
        if where is None:
            return after
        said = self._crash(where, batch)
        if self._on_nonfinite == "stop":
            raise crash.NonFinite(said)
        if self.sink:
            self.sink.say(said)
        return crash.settled(self._on_nonfinite, before, after, halt)

    def __call__(self, state: State, metrics: dict[str, Any], halt: Halt | None, worlds: Sequence) -> None:
        """Write an update down, save it, and only then show it. ``worlds``: as ``save``. Raises NonFinite where running
        statistics are not finite."""
        moving = state._replace(constants=(), reference=())  # constants may be infinite: the mask of an action
        if spoilt := crash.not_finite(checkpoint.to_leaves(moving)):
            raise crash.NonFinite(self._crash({"statistics": spoilt}, None))
        if not self.sink:
            return
        found = self.sink.row(state.updates, state.env_steps, metrics)
        self.save(state, worlds)
        self.sink.show()
        if halt and (halt.reason == "nonfinite" or halt.reason not in self._explained):
            self._explained.add(
                halt.reason
            )  # a stop is how a trust region works: the next ones are in the progress line
            self.sink.say(f"update {state.updates}: {self._explain(halt)}")
        for finding in found:
            self.sink.warn(f"doctor: {finding.cause}", f"update {state.updates}: {finding.line()}")
        if (spoilt := metrics.get("env/nonfinite")) and "env" not in self._explained:
            self._explained.add("env")
            self.sink.say(
                f"update {state.updates}: a world gave numbers that are not finite, and nothing is learned of these samples "
                f"(env/nonfinite: {spoilt}); env.on_nonfinite=stop ends the run there and names the world"
            )
        if metrics.get("match/at_bound") and self._match and state.chosen.match and "match" not in self._explained:
            self._explained.add("match")
            self.sink.say(f"update {state.updates}: {self._match.said(state.chosen.match)}")
        if (ratio := metrics.get("bc/ppo_ratio", 0.0)) > 2 and "demo" not in self._explained:
            self._explained.add("demo")
            size = f"{ratio:.1f} times the size of the PPO loss"
            self.sink.say(
                f"update {state.updates}: the demonstrations' term is {size}; lower demo.coef or set demo.adaptive=true"
            )

    def tell(self, on_update: Callable[[dict], Any] | None, *, over: bool) -> None:
        """Pass the last row on, to a person's own function. Raises Ended where that asks for it; of a run that is ``over``
        nothing is left to end."""
        if on_update and self.sink and on_update(self.sink.last) and not over:
            raise Ended

    def save(self, state: State, worlds: Sequence) -> None:
        """Save ``state``. ``worlds``: every rank's running episodes, see ``resume.episodes``."""
        if not self.sink:
            return
        numbered = self._every > 0 and state.env_steps // self._every > self._saved_steps // self._every
        self.sink.save(*resume.freeze(state, self._generator, worlds), numbered=numbered)
        self._saved_steps = state.env_steps

    def _crash(self, where: dict, batch: Batch | None) -> str:
        """The incident in words, and where its bundle is; a bundle that cannot be written takes nothing away from them."""
        if not self.sink:
            return crash.describe(where)
        try:
            return self.sink.crash(where, batch)
        except (DiskError, checkpoint.CheckpointError) as error:
            return f"{crash.describe(where)}; no bundle of it: {error}"


def recording(cfg: DictConfig, run: Run, parts: Parts, watch: Watch) -> Record:
    """The record that ``cfg`` asks for; ``watch``: the doctor that sees its rows."""
    sink = None
    if ranks.first():
        sink = Sink(
            run,
            plain(cfg),
            strategy("logger", cfg.logger, cfg.trust),
            headline=f"{parts.envs.name}, {parts.flat.numel():,} parameters",
            notes=[*said(run.words, parts.unread), *watch.foreseen],
            own=trusted(cfg),
            watch=watch,
            plots=cfg.plots,
        )
    return Record(
        sink,
        parts.generator,
        on_nonfinite=cfg.on_nonfinite,
        every=cfg.checkpoint.every,
        explain=partial(explain, kl=str(cfg.kl._target_).rsplit(".", 1)[-1], target_kl=cfg.target_kl),
        match=parts.schedule.match,
    )
