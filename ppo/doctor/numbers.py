"""Checks of an environment: its actions, observations and rewards, and what the configuration makes of them."""

import time

import numpy as np

from ppo.doctor.foresee import SUBTRACT, action_option, beyond, first_sigma, of_actions, resolution
from ppo.doctor.history import lookup
from ppo.doctor.play import Seen, Subject, Verdict, at_random, box, corners, inside, play


def actions(subject: Subject, *, steps: int = 20) -> Verdict:
    """A new policy's actions fit between the bounds, and every action does something."""
    envs = subject.make(1)
    try:
        space = box(envs)
        if found := of_actions(subject.config, space):
            return Verdict("fault", found.what, found.tries)
        low, high = corners(space)
        still = inside(np.clip(np.zeros((steps, 1, *space.shape)), low, high), space)
        base, dead = play(envs, still, until=subject.until), []
        tried = 0
        for d in np.flatnonzero(low < high):
            if time.monotonic() > subject.until:
                break
            pushed = still[: base.steps].astype(float)
            pushed[..., d] = high[d] if high[d] > pushed[0, 0, d] else low[d]
            seen = play(envs, inside(pushed, space))
            tried += 1
            if np.array_equal(seen.next_obs, base.next_obs) and np.array_equal(seen.reward, base.reward):
                dead.append(int(d))
    finally:
        envs.close()
    if dead:
        many = f"actions {', '.join(map(str, dead))} change" if len(dead) > 1 else f"action {dead[0]} changes"
        return Verdict("fault", f"{many} neither observation nor reward in {base.steps} steps")
    fixed = int((low == high).sum())
    clips = action_option(subject.config) == "clip"
    cut = f", {beyond(space, first_sigma(subject.config)).max():.0%} of a new policy's cut off" if clips else ""
    short = tried < len(low) - fixed
    effect = f"only {tried} of them tried, for want of time (--seconds)" if short else "each has an effect"
    none = f", {fixed} with nothing to choose (low = high)" if fixed else ""
    return Verdict("note" if fixed or short else "ok", f"{len(low)} action{'s' * (len(low) > 1)}{cut}, {effect}{none}")


def observations(subject: Subject, *, large: float = 1e3, steps: int = 300) -> Verdict:
    """Observations lie in their space, are of a size that a network can take, and are not lost in rounding."""
    seen = at_random(subject, steps)
    envs = subject.make(1)
    low, high = envs.observation_space.low, envs.observation_space.high
    envs.close()
    values = np.concatenate([seen.first[None], seen.next_obs]).reshape(-1, seen.first.shape[-1])
    out = ((values < low - 1e-6) | (values > high + 1e-6)).any(0)
    if out.any():
        d = int(np.argmax(out))
        reach = f"[{values[:, d].min():.4g}, {values[:, d].max():.4g}]"
        return Verdict("fault", f"entry {d} takes values in {reach}, outside its space [{low[d]:g}, {high[d]:g}]")
    size, spread = np.abs(values).max(0), values.astype(float).std(0)
    rounded = (size > large) & (spread < resolution(subject.config, values.dtype) * size)
    if rounded.any():
        d = int(np.argmax(rounded))
        offset = f"entry {d} is {values[0, d]:.9g} and varies by less than is left of it after rounding"
        return Verdict("fault", f"{offset}: {SUBTRACT}")
    normalised = lookup(subject.config, "normalise.obs")
    if size.max() > large:
        d = int(np.argmax(size))
        if not normalised:
            return Verdict("fault", f"entry {d} reaches {size[d]:.3g}; a network wants about 1", "normalise.obs=true")
        return Verdict("ok", f"{len(size)} entries, largest {size[d]:.3g}; normalise.obs=true scales it")
    still = np.flatnonzero(np.ptp(values, 0) == 0)
    if len(still):
        return Verdict("note", f"{len(still)} of {len(size)} entries never change under random actions")
    return Verdict("ok", f"{len(size)} entr{'ies' if len(size) > 1 else 'y'}, largest {size.max():.3g}")


def rewards(
    subject: Subject, *, large: float = 100.0, small: float = 1e-4, steps: int = 300, share: float = 0.25
) -> Verdict:
    """Rewards are there, of a size that a critic can take, and not all at the clip once they are scaled."""
    seen = at_random(subject, steps)
    size = float(np.sqrt(np.mean(seen.reward**2)))
    if size == 0:
        return Verdict("note", f"no reward but 0 in {seen.steps} random steps: sparse, or missing")
    text = f"root mean square {size:.3g}, from {seen.reward.min():.3g} to {seen.reward.max():.3g}"
    if np.ptp(seen.reward) == 0:
        return Verdict("note", f"always {seen.reward.flat[0]:g}, whatever is done")
    if lookup(subject.config, "normalise.reward"):
        limit = lookup(subject.config, "normalise.clip_reward") or 10.0
        deviation = _return_deviation(seen, lookup(subject.config, "gamma") or 0.99)
        cut = float((np.abs(seen.reward) > limit * deviation).mean())
        if cut > share:
            scaled = (
                f"divided by the deviation {deviation:.3g} of their discounted sum, {cut:.0%} of them lie at the clip"
            )
            return Verdict(
                "fault",
                f"{text}; {scaled} normalise.clip_reward={limit:g} and no longer differ",
                "normalise.reward=false",
            )
    elif not small <= size <= large:
        unit = "too large" if size > large else "too small"
        return Verdict("fault", f"{text}: {unit} a unit", "normalise.reward=true")
    return Verdict("ok", text)


def _return_deviation(seen: Seen, gamma: float) -> float:
    """What normalise.reward would divide by: the deviation of the discounted sum of rewards since the episode began."""
    total, sums = np.zeros(seen.reward.shape[1]), []
    for reward, ended in zip(seen.reward, seen.terminated | seen.truncated, strict=True):
        total = gamma * total + reward
        sums.append(total)
        total = np.where(ended, 0.0, total)
    return float(np.std(sums))
