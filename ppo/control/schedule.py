"""All that is chosen anew for each update, by one rule for all of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ppo.control.match import Match, Matched
from ppo.control.progress import Progress, Seen
from ppo.control.width import widened


class Chosen(NamedTuple):
    """The numbers of an update. All None before the first; then they are what the next choice remembers."""

    lr: float | None = None
    clip_low: float | None = None
    clip_high: float | None = None
    coef: dict[str, float | None] = {}  # noqa: RUF012 - weight of each further term of the loss, by its name
    match: Matched | tuple[()] = ()  # how wide, with match_kl=


class Schedule(NamedTuple):
    """The options that choose, each a function of ``Progress``, and what all of them read."""

    lr: Callable[[Progress], float]
    clip: Callable[[Progress], tuple[float, float]]
    coef: dict[str, Callable[[Progress], float]]
    target_kl: float | None
    total_steps: int
    match: Match | None = None  # what match_kl= asks for

    def start(self) -> Chosen:
        """Nothing chosen yet."""
        return Chosen(coef=dict.fromkeys(self.coef), match=Matched() if self.match else ())

    def __call__(self, last: Chosen, seen: Seen, env_steps: int) -> Chosen:
        """The numbers of the next update, after ``env_steps`` environment steps."""

        match, scale = last.match, 1.0
        if self.match and match:
            match = self.match(match)
            scale = match.scale
        widths = self.match.numbers(scale) if self.match else {}

        def choose(option: Callable[[Progress], Any], last: object) -> Any:
            progress = Progress(env_steps / self.total_steps, last, seen, widths.get("target_kl", self.target_kl))
            return (widened(option, scale) if self.match else option)(progress)

        low, high = choose(self.clip, None if last.clip_high is None else (last.clip_low, last.clip_high))
        return Chosen(
            lr=choose(self.lr, last.lr),
            clip_low=low,
            clip_high=high,
            coef={name: choose(option, last.coef.get(name)) for name, option in self.coef.items()},
            match=match,
        )
