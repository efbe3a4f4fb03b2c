"""Checks of an environment: how its episodes end, and whether it bears what a policy does to it."""

import time

import numpy as np

from ppo.doctor.play import Subject, Verdict, at_random, box, corners, drawn, inside, play


def autoreset(subject: Subject, *, steps: int = 1000) -> Verdict:
    """Every row is a step: returns and lengths add up, and the row after an end belongs to the next episode."""
    seen = at_random(subject, steps)
    ended = seen.terminated | seen.truncated
    if not ended.any():
        return Verdict("note", f"no episode ended in {seen.steps} steps; nothing to see")
    going = ~ended
    if not np.array_equal(seen.obs[going], seen.next_obs[going]):
        return Verdict("fault", "within an episode, the observation to act on is not the successor that was reported")
    for i in range(ended.shape[1]):
        total, length = 0.0, 0
        for t in range(seen.steps):
            total, length = total + seen.reward[t, i], length + 1
            if ended[t, i]:
                if seen.episode_length[t, i] != length or not np.isclose(seen.episode_return[t, i], total, atol=1e-6):
                    return Verdict(
                        "fault",
                        f"an episode of {length} rows and a sum of rewards of {total:.4g} is reported as "
                        f"{seen.episode_length[t, i]} steps and {seen.episode_return[t, i]:.4g}: a row is no step",
                    )
                total, length = 0.0, 0
    varies = np.ptp(seen.next_obs.reshape(-1, seen.first.shape[-1]), axis=0).any()
    if varies and np.array_equal(seen.obs[ended], seen.next_obs[ended]):
        return Verdict("fault", "after an end, the next observation is still the last one: the episode was not reset")
    return Verdict("ok", f"{ended.sum()} episodes: returns and lengths add up, each is followed by a new one")


def truncation(subject: Subject, *, steps: int = 2500) -> Verdict:
    """A clock truncates, it does not terminate: nothing is bootstrapped from a termination."""
    seen = at_random(subject, steps)
    ended = seen.terminated | seen.truncated
    if not ended.any():
        none = f"no episode ended in {seen.steps} steps under random actions"
        if seen.steps < steps:
            return Verdict("note", f"{none}, all there was time for")
        return Verdict("fault", f"{none}; give the task a time limit")
    lengths = seen.episode_length[seen.terminated & ~seen.truncated]
    longest = int(seen.episode_length[ended].max())
    if len(lengths) >= 4 and longest > 1 and (lengths == longest).all() and not seen.truncated.any():
        return Verdict(
            "fault",
            f"all {len(lengths)} episodes terminate at step {longest} exactly: that is a clock, report truncated",
        )
    both = int((seen.terminated & seen.truncated).sum())
    text = (
        f"{int(ended.sum())} episodes: {int(seen.terminated.sum())} terminated, {int(seen.truncated.sum())} truncated"
    )
    return Verdict(
        "note" if both else "ok", f"{text}{f', {both} both (counted as terminated)' if both else ''}; longest {longest}"
    )


def fuzz(subject: Subject, *, steps: int = 300, reach: float = 1e3) -> Verdict:
    """Actions at the corners of the space, and back and forth, give finite answers. Non-finite ones raise EnvError."""
    envs = subject.make(2)
    done = 0
    try:
        space = box(envs)
        low, high = (inside(corner, space) for corner in corners(space, reach=reach))
        shape = (steps, envs.num_envs, *space.shape)
        either = np.where(np.random.default_rng(0).random(shape) < 0.5, low, high)
        for seed, pushed in enumerate(
            (either, either, either, np.broadcast_to(high, shape), np.broadcast_to(low, shape))
        ):
            if time.monotonic() > subject.until:
                break
            done += play(envs, pushed, seed, until=subject.until).steps
    finally:
        envs.close()
    if not done:
        return Verdict("note", "no step at the corners of the action space was taken, for want of time (--seconds)")
    return Verdict("ok", f"{done} steps at the corners of the action space are finite")


def speed(subject: Subject, *, slow: float = 300.0, steps: int = 200) -> Verdict:
    """Steps per second of one environment in this process."""
    envs = subject.make(1)
    try:
        actions = drawn(envs, steps)
        began = time.perf_counter()
        done = play(envs, actions, until=subject.until).steps
        rate = done / (time.perf_counter() - began)
    finally:
        envs.close()
    long = f"half a million take {500_000 / rate / 60:,.1f} minutes"
    text = f"{rate:,.{0 if rate > 100 else 1}f} steps a second on one core: {long}"
    return Verdict("fault" if rate < slow else "ok", text, "workers=auto num_envs=16" if rate < slow else "")
