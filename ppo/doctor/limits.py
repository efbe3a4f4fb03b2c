"""Checks of what bounds an update: numbers that are none, a policy that is another, and limits that end it too soon or
never.

Each check is one function ``(history) -> Finding | None``; its keyword-only arguments are its thresholds.
"""

import numpy as np

from ppo.doctor.finding import Finding, percent, span
from ppo.doctor.history import History, middle, tail
from ppo.doctor.remedy import limited, slower


def off_policy(history: History, *, limit: float = 1e-4) -> Finding | None:
    """The policy that learns is not the one that acted: ``limit``, and what rounding explains, on check/first_log_ratio
    and check/acting."""
    apart = np.fmax(history["check/first_log_ratio"], history["check/acting"])
    bad = ~(apart <= limit + np.nan_to_num(history["check/rounding"])) & ~np.isnan(apart)
    if not bad.any():
        return None
    return Finding(
        "off_policy",
        "old and new policy differ before the first step, so every KL and ratio is off",
        span(history, bad),
        f"log-ratio or mean differs by up to {np.nanmax(apart):.3g} at the first minibatch, where it must be 0: something "
        "moves between acting and learning, which is a fault of the code (a layer of your own, such as dropout?)",
        (),
        restart=True,
    )


def nonfinite(history: History) -> Finding | None:
    """A loss, gradient or KL was NaN or infinite: the step was refused, but a cause remains."""
    bad = (history["guard/nonfinite"] > 0) | (history.texts("update/stop") == "nonfinite") | ~np.isfinite(history.kl)
    if not bad.any():
        return None
    first = int(np.argmax(bad))
    before = "from the start" if first == 0 else f"KL was {history.kl[first - 1]:.3g} in the update before"
    targets = np.isfinite(history["target/std"]) & np.isfinite(history["advantage/std"])
    if targets[bad].all():
        tries = [slower(history, 10), *([] if history.option("max_grad_norm") else ["max_grad_norm=0.5"])]
    else:  # then no rate and no gradient is at fault
        before += "; the value targets themselves are not finite"
        tries = ["normalise.reward=true"]
    return Finding(
        "nonfinite",
        "losses, gradients or KL are not finite",
        span(history, bad),
        f"{bad.sum()} of {len(history)} updates ended with stop reason nonfinite or non-finite log-ratios; {before}",
        (*tries,),
        restart=True,
    )


def estimator(history: History, *, share: float = 0.5, truth: float = 0.5) -> Finding | None:
    """A sampled KL ends updates that had not gone far: stopped in a ``share`` of the updates, and what an update really
    ended with is below ``truth`` times the limit."""
    chosen, rule = history.chosen("kl"), history.chosen("stop")
    if len(history) < 5 or chosen not in history.sampled or rule not in ("minibatch", "epoch"):
        return None
    at, limit = history.stopped, history.limit()
    if at.mean() < share or not middle(history.kl[at]) < truth * limit:
        return None
    said, true = middle(history["stop/value"][at]), middle(history.kl[at])
    error = history[f"kl/error_{chosen}"]
    bias, noise = middle(error), middle(np.abs(error - middle(error)))
    nature = f"it is biased, by {bias:+.2g} (median)" if abs(bias) > noise else f"it is noisy, by {noise:.2g} (median)"
    quiet = min(history.sampled, key=lambda name: middle(np.abs(history[f"kl/error_{name}"])))
    return Finding(
        "estimator",
        f"updates are ended by the noise or bias of kl={chosen}, not by the policy",
        span(history, at),
        f"{percent(at.mean())} of updates stopped, at {percent(middle(history.done[at]))} of their steps; {chosen} said "
        f"{said:.2g} > {limit:.2g} where the exact KL ended at {true:.2g}: {nature}",
        ("kl=exact", *([f"kl={quiet}"] if quiet != chosen else [])),
    )


def target_tight(history: History, *, steps: float = 0.1, kl: float = 0.005) -> Finding | None:
    """The limit, for a target below 0.01, ends nearly every update after less than ``steps`` of its gradient steps, at a
    KL below ``kl``."""
    target = history.option("target_kl")
    if len(history) < 5 or not target or target >= 0.01 or history.stopped.mean() < 0.8:
        return None
    if not middle(history.done) < steps or not middle(history.reached) < kl:
        return None
    return Finding(
        "target_tight",
        f"target_kl={target:g} ends the updates before they have begun",
        span(history, history.stopped),
        f"{percent(history.stopped.mean())} of updates stopped, at {percent(middle(history.done))} of their steps, with a median "
        f"kl/final of {middle(history.kl):.2g}; up to 0.01 is healthy",
        ("target_kl=0.01",),
    )


def target_unused(history: History, *, share: float = 0.2) -> Finding | None:
    """A target that nothing reads, and that a ``share`` of the updates exceed by half."""
    target = history.option("target_kl")
    read = any(history.chosen(group).startswith("adaptive") for group in ("lr", "clip", "penalty"))
    read |= history.chosen("stop") != "none" or history.chosen("objective") == "trpo"
    if not target or read or len(history) < 5:
        return None
    above = history.kl > 1.5 * target
    if above.mean() < share:
        return None
    return Finding(
        "target_unused",
        f"target_kl={target:g} is set, but with stop=none nothing reads it",
        span(history, above),
        f"kl/final is beyond 1.5 times the target in {percent(above.mean())} of the updates",
        ("stop=minibatch", "lr=adaptive_kl"),
    )


def penalty(history: History, *, kl: float = 5e-4, beta: float = 1.0) -> Finding | None:
    """A KL penalty that leaves no room: its weight is ``beta`` or more, and the median KL is below ``kl``."""
    weight = middle(tail(history["penalty/beta"]))
    if len(history) < 5 or not weight >= beta or not middle(tail(history.kl)) < kl or history.stopped.mean() > 0.5:
        return None
    target = history.option("target_kl")
    adaptive = history.chosen("penalty") == "adaptive" and weight > 1.01 * history.option("penalty.min", 0.0)
    low_target = adaptive and target and target < 0.01
    weaker = "target_kl=0.01" if low_target else f"penalty=fixed penalty.beta={min(1.0, weight / 100):g}"
    return Finding(
        "penalty",
        f"the KL penalty, of weight {weight:g}, holds the policy where it is",
        span(history, history.kl < kl),
        f"median kl/final {middle(tail(history.kl)):.2g}; weights of use lie near 0.01 to 3",
        (weaker, f"penalty=none {limited(history)}"),
    )
