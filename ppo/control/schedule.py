"""All that is chosen anew for each update, by one rule for all of it."""

from collections.abc import Callable
from typing import NamedTuple

from ppo.control.progress import Progress, Seen


class Chosen(NamedTuple):
    """The numbers of an update. All None before the first; then they are what the next choice remembers."""

    lr: float | None = None
    clip_low: float | None = None
    clip_high: float | None = None
    coef: dict[str, float | None] = {}  # noqa: RUF012 - weight of each further term of the loss, by its name


class Schedule(NamedTuple):
    """The options that choose, each a function of ``Progress``, and what all of them read."""

    lr: Callable[[Progress], float]
    clip: Callable[[Progress], tuple[float, float]]
    coef: dict[str, Callable[[Progress], float]]
    target_kl: float | None
    total_steps: int

    def start(self) -> Chosen:
        """Nothing chosen yet."""
        return Chosen(coef=dict.fromkeys(self.coef))

    def __call__(self, last: Chosen, seen: Seen, env_steps: int) -> Chosen:
        """The numbers of the next update, after ``env_steps`` environment steps."""

        def progress(last: object) -> Progress:
            return Progress(env_steps / self.total_steps, last, seen, self.target_kl)

        low, high = self.clip(progress(None if last.clip_high is None else (last.clip_low, last.clip_high)))
        return Chosen(
            lr=self.lr(progress(last.lr)),
            clip_low=low,
            clip_high=high,
            coef={name: choose(progress(last.coef.get(name))) for name, choose in self.coef.items()},
        )
