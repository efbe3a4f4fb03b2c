"""Checks of exploration and of the data: sigma, single action dimensions, advantages, observations.

Each check is one function ``(history) -> Finding | None``; its keyword-only arguments are its thresholds.
"""

import math

import numpy as np

from ppo.doctor.finding import Finding, percent, span
from ppo.doctor.history import History, middle, tail
from ppo.doctor.remedy import round_to


def sigma_tiny(history: History, *, floor: float = 0.02, ratio: float = 0.05) -> Finding | None:
    """The smallest sigma is below ``floor`` (in units of the action) or below ``ratio`` times what it began with."""
    sigma = history["policy/sigma_min"]
    if len(history) < 3 or not np.isfinite(sigma).any():
        return None
    first, now = float(sigma[np.isfinite(sigma)][0]), middle(tail(sigma))
    if not now < max(floor, ratio * first) or middle(tail(history["action/clipped"])) > 0.1:
        return None  # where the bounds cut actions off, the space is small, not the noise
    begins = int(np.argmax(sigma < max(floor, ratio * first)))
    if first >= floor and (history.reached[:begins] > 10).any():
        return None  # it came of a policy that was thrown far
    which = history.dimensions("policy/sigma")
    where = f" (action {int(np.argmin(which[:, -1]))})" if len(which) > 1 else ""
    began = "from the start" if first < floor else f"from {first:.3g}"
    lower = history.option("network.log_std_min", -10.0)
    if first < floor:
        tries = ["network.log_std=-0.5"]
    else:
        bonus = history.option("coef.entropy", 0.0)
        tries = [f"coef.entropy={round_to(max(0.003, 3 * bonus))}"]
        if lower < -3:
            tries.insert(0, "network.log_std_min=-2")
    return Finding(
        "sigma_tiny",
        f"exploration has collapsed: sigma is tiny{where}",
        span(history, sigma < max(floor, ratio * first)),
        f"smallest sigma {now:.2g}, {began}; a small sigma makes every step a large KL, (change of mean / sigma)² / 2: "
        f"kl/final {middle(tail(history.kl)):.2g}",
        tuple(tries),
        restart=True,
    )


def sigma_large(history: History, *, ratio: float = 3.0) -> Finding | None:
    """The largest sigma is more than ``ratio`` times what it began with, or at the bound that the network sets it: nothing
    pays for precision. Without an entropy bonus, and with a KL that is too large as well, that is what is at fault."""
    sigma = history["policy/sigma_max"]
    if len(history) < 5 or not np.isfinite(sigma).any():
        return None
    first, now = float(sigma[np.isfinite(sigma)][0]), middle(tail(sigma))
    lowest, highest = history.option("network.log_std_min", -math.inf), history.option("network.log_std_max", math.inf)
    bound = math.exp(min(highest, 50.0)) if lowest < highest and highest > 1 else math.inf
    if not now > min(ratio * first, 0.95 * bound):
        return None
    bonus = history.option("coef.entropy", 0)
    if bonus > 0:
        cause = f"the entropy bonus coef.entropy={bonus:g} outweighs the return"
        tries = [f"coef.entropy={round_to(bonus / 30)}", "coef.entropy=0"]
    elif middle(tail(history.kl)) > 0.05:
        return None
    else:
        cause = "sigma grows without a bonus" if now > ratio * first else "sigma begins too large"
        tries = ["network.log_std=-1"] if first > 1 else []
        tries += [f"network.log_std_max={max(0.0, math.ceil(math.log(first))):g}"] if now > ratio * first else []
        tries += ["action=tanh"]
    if bonus > 0 and first > 0.95 * bound:
        tries = [f"{words} network.log_std=-1" for words in tries]
    edge = f"; its bound is {bound:.3g}" if 0.95 * bound < now < 1.05 * bound else ""  # network=gsde sums several
    return Finding(
        "sigma_large",
        f"exploration is too wide: {cause}",
        span(history, sigma > min(ratio * first, 0.95 * bound)),
        f"largest sigma {now:.3g}, from {first:.3g}{edge}; entropy {middle(tail(history['policy/entropy'])):.3g} nat",
        (*tries,),
        restart=True,
    )


def sigma_frozen(history: History, *, moved: float = 1e-5) -> Finding | None:
    """Sigma stays the same to the last bit while the means move by ``moved`` [nat] an update."""
    sigma = history["policy/sigma"]
    known = sigma[np.isfinite(sigma)]
    if len(known) < 5 or np.ptp(known) > 0 or not middle(history["kl/mean_part"]) > moved:
        return None
    low, high = history.option("network.log_std_min"), history.option("network.log_std_max")
    held = low is not None and low == high
    why = f"sigma {known[-1]:.4g} in all {len(known)} updates, kl/sigma_part {middle(history['kl/sigma_part']):.2g} of "
    why += f"{middle(history.kl):.2g}"
    if held:
        why += f"; network.log_std_min = network.log_std_max = {low:g}"
    tries = ("network.log_std_min=-10 network.log_std_max=2",) if held else ()
    return Finding("sigma_frozen", "sigma is frozen: exploration cannot adapt", span(history, sigma > 0), why, tries)


def dimension(history: History, *, share: float = 0.6, multiple: float = 2.5) -> Finding | None:
    """Of three actions or more, one takes a ``share`` of the KL, and ``multiple`` times its even part."""
    parts = history.dimensions("kl/mean_part")
    if len(parts) < 3 or len(history) < 5:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (parts + history.dimensions("kl/sigma_part")) / history.kl
    typical = np.array([middle(tail(row)) for row in shares])
    d = int(np.nanargmax(typical)) if np.isfinite(typical).any() else 0
    if not typical[d] > max(share, min(0.9, multiple / len(parts))):
        return None
    sigmas = [middle(tail(row)) for row in history.dimensions("policy/sigma")]
    others = float(np.median([s for i, s in enumerate(sigmas) if i != d])) if len(sigmas) > d else math.nan
    why = f"action {d} takes {percent(typical[d])} of kl/final, an even part would be {percent(1 / len(parts))}"
    tries = [f"coef.entropy={round_to(max(0.003, 3 * history.option('coef.entropy', 0.0)))}"]
    if len(sigmas) > d:
        why += f"; its sigma is {sigmas[d]:.2g}, that of the others {others:.2g}"
        if sigmas[d] < 0.7 * others:
            tries.insert(0, f"network.log_std_min={math.log(others):.1f}")
    seen = f"one action eats the trust region: action {d}; the others learn from what it leaves"
    return Finding("dimension", seen, span(history, shares[d] > share), why, tuple(tries))


def outliers(history: History, *, deviations: float = 15.0, share: float = 0.35) -> Finding | None:
    """Rewards are scaled, and the scale is that of a few: the largest advantage usually lies more than ``deviations`` from
    0, in standard deviations, and beyond a ``share`` of the most that it could among so many samples, their square root.

    Without scaling this does no harm that could be measured, whatever the normaliser of advantages.
    """
    limit, largest = max(deviations, share * math.sqrt(history.samples)), history.largest_advantage
    typical = middle(tail(largest))
    if len(history) < 5 or not typical > limit or not history.option("normalise.reward", False):
        return None
    tries = ["normalise.reward=false"]
    if history.option("normalise.clip_reward", 10.0) > 3:
        tries.append("normalise.clip_reward=3")
    return Finding(
        "outliers",
        "a few rewards set the scale, and all others are small beside it",
        span(history, largest > limit),
        f"the largest advantage is {typical:.0f} standard deviations from 0 (median of updates; {history.samples} samples "
        f"each); rewards are divided by {middle(tail(history['reward/scale'])):.3g}",
        (*tries,),
    )


def obs_clipped(history: History, *, fraction: float = 0.05) -> Finding | None:
    """More than a ``fraction`` of the normalised observations lie at the clip."""
    clipped, limit = middle(tail(history["obs/clipped"])), history.option("normalise.clip_obs", 10.0)
    if len(history) < 3 or not clipped > fraction:
        return None
    what = "the clip is too narrow" if limit < 5 else "they leave the range that their statistics know"
    return Finding(
        "obs_clipped",
        f"observations are cut off: {what}",
        span(history, history["obs/clipped"] > fraction),
        f"{percent(clipped)} of the normalised entries lie at normalise.clip_obs={limit:g}",
        ("normalise.clip_obs=10",) if limit < 10 else ("normalise.obs=false",),
    )
