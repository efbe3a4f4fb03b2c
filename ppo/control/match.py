"""``match_kl=``: one rule that moves the width of any method so that its updates go equally far.

Settings from papers do not go equally far, so that a comparison of them compares step sizes. Here every width of a run
(``ppo.control.width``) is multiplied by one scale s, which moves between updates:

    log s <- log s + clip(log(target / KL) / 2, -1, 1)         after the first five updates: there, quickly
    log s <- log s + gain * clip(1 - KL / target, -3, 1)       after all later ones: there, on average

within the widths' bounds. KL is kl/final: exact, of the parameters that were kept; it goes about with the square of a
width. Where stop=rollback undid an epoch it is how far that went: what was kept says nothing of the width. Summed up, the
second line says that over n such updates mean KL / target = 1 - log(s_n / s_0) / (gain n) while neither clip nor bound
interferes: the mean becomes the target whatever the noise. With log(target / KL) in its place the geometric mean would.
"""

import math
from typing import NamedTuple

from ppo.control.progress import NOTHING
from ppo.control.width import Knob, bounds

GAIN = 0.25  # of a distance from the target, half is left an update later
JUMPS = 5  # updates
FARTHEST = 3.0  # of a KL of more than four times the target, no more than that counts


class Matched(NamedTuple):
    """What is remembered between two updates. The mean is 0 before the first."""

    scale: float = 1.0
    kl: float = 0.0  # of the last update, or of what it had to undo
    mean: float = 0.0  # of all updates after the jumps; while there are none, of these
    updates: int = 0

    def saw(self, kl: float, undone: float | None = None) -> "Matched":
        """After an update that ended with this KL, and had to undo an epoch that went as far as ``undone``."""
        n = self.updates + 1
        count = n - JUMPS if n > JUMPS else n
        return self._replace(kl=kl if undone is None else undone, mean=self.mean + (kl - self.mean) / count, updates=n)


class Match(NamedTuple):
    """The rule, for these widths."""

    target: float  # [nats]
    knobs: tuple[Knob, ...]

    def __call__(self, last: Matched) -> Matched:
        """The scale of the next update."""
        low, high = bounds(self.knobs)
        return last._replace(scale=min(high, max(low, self._wanted(last))))

    def _wanted(self, last: Matched) -> float:
        """The scale that would be next if there were no bounds. NaN counts as too far; a KL of nothing, of an update that
        was refused, says nothing."""
        if last.kl <= NOTHING * self.target:
            return last.scale
        times = last.kl / self.target if math.isfinite(last.kl) else math.inf
        by = max(-1.0, min(1.0, -math.log(times) / 2)) if last.updates <= JUMPS else GAIN * max(-FARTHEST, 1 - times)
        return last.scale * math.exp(by)

    def numbers(self, scale: float) -> dict[str, float]:
        """Every width at this scale, by its name."""
        return {knob.name: knob.at(scale) for knob in self.knobs}

    def at_bound(self, now: Matched) -> bool:
        """Whether it would go on beyond the bound that it has come to; during the jumps it may come there on its way."""
        low, high = bounds(self.knobs)
        wanted = self._wanted(now)
        return now.updates > JUMPS and (wanted < low == now.scale or wanted > high == now.scale)

    def metrics(self, now: Matched) -> dict[str, float]:
        """``now``: with what the update that used its scale ended with."""
        return {
            "match/target": self.target,
            "match/reached": now.mean,
            "match/knob": self.knobs[0].at(now.scale),
            "match/at_bound": float(self.at_bound(now)),
        }

    def said(self, now: Matched) -> str:
        """In words, what it means that the scale is at its bound."""
        numbers = ", ".join(f"{name}={number:.3g}" for name, number in self.numbers(now.scale).items())
        return f"match_kl={self.target:g} is out of reach: {numbers} is as far as it may go, and the KL is {now.kl:.3g}"
