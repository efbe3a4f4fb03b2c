"""Checks of the size of a step: does an update move the policy too far, or hardly at all, and what came of it?

Each check is one function ``(history) -> Finding | None``; its keyword-only arguments are its thresholds.
"""

import math
from typing import NamedTuple

import numpy as np

from ppo.doctor.finding import Finding, percent, runs, span
from ppo.doctor.history import History, middle, tail
from ppo.doctor.pattern import pattern
from ppo.doctor.remedy import limited, slower, to_reach


class _TooFar(NamedTuple):
    seen: str
    mask: np.ndarray  # [n] bool: in which updates
    why: str
    restart: bool
    rule: bool = False  # the stop rule is there, and is overrun


def learning_rate(
    history: History,
    *,
    kl: float = 0.05,
    share: float = 0.5,
    row: int = 5,
    first: float = 0.02,
    extreme: float = 10.0,
) -> Finding | None:
    """The KL is beyond ``kl`` in a ``share`` of the updates, and most of it comes early in the update: within its first
    epoch the mean already is ``first``, or the stop rule ends it there. Or ``row`` updates in a row were above 0.03 and
    the return did not rise; or the rule ends nearly all updates early and their KL still is beyond its limit.

    What is beyond ``extreme`` needs no ``row`` updates to be believed, nor a ``share`` of them.
    """
    found = _too_far(history, kl, share, row, extreme)
    if found is None or not (found.rule or _within_first_epoch(history, found.mask, first)):
        return None
    fast = to_reach(max(middle(history.reached[found.mask]), 2 * kl))
    tries = [slower(history, fast)]
    if history.limit() == math.inf:  # a limit alone comes too late where a single step goes too far
        tries.append(f"{tries[0]} {limited(history)}")
    elif history.chosen("kl") in history.sampled and history.chosen("stop") != "rollback":
        tries.append(f"{tries[0]} kl=exact")
    seen = f"{found.seen}: the learning rate is too high"
    return Finding("learning_rate", seen, span(history, found.mask), found.why, (*tries,), found.restart)


def epochs(
    history: History,
    *,
    kl: float = 0.05,
    share: float = 0.5,
    row: int = 5,
    first: float = 0.02,
    extreme: float = 10.0,
) -> Finding | None:
    """As ``learning_rate``, but the KL of the first epoch is small: it is the number of passes that adds up."""
    found = _too_far(history, kl, share, row, extreme)
    if found is None or found.rule or _within_first_epoch(history, found.mask, first):
        return None
    free = history.limit() == math.inf
    tries = _shorter(history, found.mask) if free else _stricter(history)
    if (history.option("clip.eps") or 0) > 0.2:
        tries.append("clip.eps=0.2")
    ends = "nothing ends the update" if free else "the limit does not end the update"
    seen = f"{found.seen}: the steps are small, but {ends} before they add up"
    return Finding("epochs", seen, span(history, found.mask), found.why, (*tries,), found.restart)


def _shorter(history: History, mask: np.ndarray) -> list[str]:
    """What ends an update that nothing ends: a limit, fewer passes, and a clip where there is none."""
    passes = history.option("epochs", 1)
    fewer = max(3, int(passes / to_reach(middle(history.reached[mask]))))
    tries = [limited(history), *([f"epochs={fewer}"] if fewer < passes else [])]
    if history.chosen("clip") == "none" and history.chosen("objective") != "trpo":
        tries.append(f"clip=fixed epochs={min(fewer, passes)}")
    return tries


def _stricter(history: History) -> list[str]:
    """What makes a limit hold that is overrun: asked more often, of a KL without noise, or with smaller steps."""
    tries = ["stop=minibatch"] if history.chosen("stop") == "epoch" else []
    tries += ["kl=exact"] if history.chosen("kl") in history.sampled else []
    return tries or [slower(history, 2)]


def _too_far(history: History, kl: float, share: float, row: int, extreme: float) -> _TooFar | None:
    """Where updates go too far."""
    reached, limit = history.reached, history.limit()
    allowed = 0.0 if limit == math.inf else 1.3 * limit  # what was asked for is no finding
    rising = history.rise
    facts = [f"median kl/final {middle(history.kl):.3g}", f"largest {_largest(history.kl):.3g}"]
    if undone := int((reached > history.kl).sum()):
        facts.append(f"{undone} undone, at a KL of {middle(reached[reached > history.kl]):.3g}")
    if math.isfinite(rising):
        facts.append("the return rises" if rising > 0.3 else "the return does not rise")
    ends = [(path[0], path[-1]) for entry in history.rows if (path := entry.get("trace/epoch/exact"))]
    if ends:
        a, b = (middle(np.array(x)) for x in zip(*ends, strict=True))
        facts.append(f"mean KL of the first epoch {a:.2g}, of the last {b:.2g}")
    if history.stopped.any():
        facts.append(
            f"{percent(history.stopped.mean())} of updates stopped, at {percent(middle(history.done))} of their steps"
        )
    why = "; ".join(facts)

    above = ~(reached <= max(kl, allowed))
    wild = ~(reached <= max(extreme, allowed))
    late = wild & (np.arange(len(wild)) >= len(wild) - max(1, len(wild) // 3))
    if len(history) < row:
        if wild.mean() >= share:
            return _TooFar(f"the policy moves by {extreme:g} nat and more in an update", wild, why, not rising > 0.3)
        return None
    if above.mean() >= share:
        return _TooFar(
            f"the policy moves too far in {percent(above.mean())} of the updates", above, why, not rising > 0.3
        )
    over = ~(reached <= max(0.02, allowed))
    if history.stopped.mean() >= 0.8 and middle(history.done) < 0.25 and over.mean() >= share:
        many = f"the policy goes beyond its limit of {limit:g} in {percent(over.mean())} of the updates"
        return _TooFar(f"{many}, though nearly all are ended early", over, why, False, rule=True)
    high = ~(reached <= max(0.03, allowed))
    long = [(start, n) for start, n in runs(high) if n >= row]
    if long and rising <= 0.1:  # where it is known
        start, n = max(long, key=lambda stretch: stretch[1])
        mask = np.zeros(len(history), dtype=bool)
        mask[start : start + n] = True
        return _TooFar(f"KL above 0.03 in {n} updates in a row, and the return does not rise", mask, why, True)
    if late.any() and pattern(history.kl).name != "growing spikes":  # another check speaks of those
        return _TooFar(f"an update moved the policy by {_largest(reached[late]):.3g} nat", wild, why, not rising > 0.3)
    return None


def _largest(column: np.ndarray) -> float:
    """The largest of what is known; NaN of nothing."""
    known = column[~np.isnan(column)]
    return float(known.max()) if len(known) else math.nan


def _within_first_epoch(history: History, mask: np.ndarray, first: float) -> bool:
    """Whether, in the updates of ``mask``, the first epoch alone goes far: by its mean KL, or because the stop rule ended
    the update within it. A run that says nothing of its epochs has the learning rate to blame."""
    if (history["update/steps"][mask] < history.per_epoch).mean() > 0.5:
        return True
    rows = (row for row, inside in zip(history.rows, mask, strict=True) if inside)
    means = [row["trace/epoch/exact"][0] for row in rows if row.get("trace/epoch/exact")]
    return not means or middle(np.array(means)) >= first


def learning_rate_low(history: History, *, kl: float = 2e-4) -> Finding | None:
    """The policy hardly moves: the median KL is below ``kl``, although there is something to learn from, and no rule or
    schedule keeps it there."""
    moved, rates = tail(history.kl), history["lr"]
    if len(history) < 5 or not middle(moved) < kl or middle(tail(rates)) < 0.5 * np.nanmax(rates):
        return None
    if history.stopped.mean() > 0.5 or history.chosen("objective") == "trpo":
        return None
    if middle(tail(history["penalty/beta"])) >= 1:
        return None  # another check speaks of that
    if middle(tail(history["advantage/std"])) == 0 or middle(tail(history["advantage/zeroed"])) > 0.5:
        return None  # no rate makes something of nothing
    if middle(tail(history["clip/fraction"])) > 0.1:
        return None
    factor = min(300.0, math.sqrt(0.003 / max(middle(moved), 1e-12)))  # the KL of small steps grows with their square
    return Finding(
        "learning_rate_low",
        "the policy hardly moves: the learning rate is too low",
        span(history, history.kl < kl),
        f"median kl/final {middle(moved):.2g} with lr {middle(tail(rates)):.2g}; "
        f"{percent(middle(tail(history['clip/fraction'])))} of samples clipped",
        (slower(history, 1 / factor),),
    )


def clip_small(history: History, *, fraction: float = 0.6, kl: float = 0.03, width: float = 0.15) -> Finding | None:
    """Most samples lie outside the clip range, which is narrower than ``width`` on a side, although the policy moves
    little."""
    clipped = tail(history["clip/fraction"])
    low, high = middle(tail(history["clip/low"])), middle(tail(history["clip/high"]))
    if len(history) < 5 or not middle(clipped) > fraction or not middle(tail(history.kl)) <= kl:
        return None
    if not min(1 - low, high - 1) < width:
        return None
    return Finding(
        "clip_small",
        "the clip range is too narrow: most samples have no gradient",
        span(history, history["clip/fraction"] > fraction),
        f"clip/fraction {middle(clipped):.2f} at a kl/final of only {middle(tail(history.kl)):.2g}; ratios are kept within "
        f"{low:.4g} to {high:.4g}",
        ("clip=fixed clip.eps=0.2",),
    )


def growing_spikes(history: History, *, factor: float = 3.0, floor: float = 0.03) -> Finding | None:
    """Spikes of the KL, each higher than those before."""
    found = pattern(history.kl, factor=factor, floor=floor)
    if found.name != "growing spikes":
        return None
    mask = np.isin(np.arange(len(history)), found.spikes)
    peaks = ", ".join(f"{history.kl[i]:.2g}" for i in found.spikes[-4:])
    rate = slower(history, 3)
    tries = (rate, f"{rate} {limited(history)}") if history.limit() == math.inf else (rate, f"{rate} stop=rollback")
    return Finding(
        "growing_spikes",
        "KL spikes that grow",
        span(history, mask),
        f"{len(found.spikes)} updates above {factor:g} times the median of those before them; the last ones {peaks}",
        tries,
        restart=True,
    )


def collapse(history: History, *, lost: float = 0.5, spike: float = 0.03) -> Finding | None:
    """The return lost more than the share ``lost`` of all it had gained, and stays there. A KL above ``spike`` and three
    times the usual, in the updates before it turned, is named as the cause."""
    values = history.returns
    if len(history) < 10 or not np.isfinite(values).all():
        return None
    top = int(np.argmax(values))
    now, start = float(np.median(values[-3:])), float(np.median(values[:3]))
    gained, noise = values[top] - min(start, now), middle(np.abs(np.diff(history["train/return"])))
    if top >= len(values) - 3 or not values[top] - now > max(lost * gained, 3 * noise):
        return None
    mask = np.arange(len(values)) > top
    near = slice(max(0, top - 2), min(len(values), top + 6))
    peak = int(np.argmax(history.kl[near])) + near.start
    spiked = history.kl[peak] > max(spike, 3 * middle(history.kl[: max(1, near.start)]))
    fell = f"return {values[top]:,.4g} at update {history.where(top)}, {now:,.4g} now, {start:,.4g} at the start"
    if spiked:
        fell += f"; KL {history.kl[peak]:.2g} in update {history.where(peak)}, median {middle(history.kl):.2g}"
    seen = "the return collapsed after a KL spike" if spiked else "the return collapsed"
    tries = (slower(history, 3),)
    if spiked and history.chosen("stop") != "rollback":
        tries = (*tries, f"{tries[0]} {limited(history, 'rollback')}")
    return Finding("collapse", seen, span(history, mask), fell, tries, restart=True)
