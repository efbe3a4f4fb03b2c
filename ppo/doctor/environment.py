"""An environment, examined before anything is trained in it: ``python -m ppo.doctor --env ant``.

Each check is one function ``(make) -> Verdict``, ``make(num_envs)`` giving a fresh vector of environments; its
keyword-only arguments are its thresholds. A check that the environment makes impossible, because it raises, is a fault.
"""

import time

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.base import EnvError
from ppo.doctor.play import Make, Verdict, at_random, play, random_actions


def seeds(make: Make, *, steps: int = 200) -> Verdict:
    """The same seed and actions give the same episode: in a fresh environment, and again in the same one."""
    envs = make(2)
    try:
        actions = random_actions(envs, steps)
        once, again, other = (play(envs, actions, seed) for seed in (0, 0, 1))
    finally:
        envs.close()
    fresh = at_random(make, steps)
    for where, seen in (("in a fresh environment", fresh), ("after a reset of the same environment", again)):
        if not np.array_equal(once.first, seen.first):
            return Verdict(
                "fault", f"the same seed gives another first observation {where}: a generator that no seed governs"
            )
        differs = (once.next_obs != seen.next_obs).any((1, 2)) | (once.reward != seen.reward).any(1)
        if differs.any():
            at = int(np.argmax(differs)) + 1
            return Verdict("fault", f"the same seed and actions part at step {at} {where}: runs cannot be repeated")
    if np.array_equal(once.first, other.first) and np.array_equal(once.next_obs, other.next_obs):
        return Verdict("note", "repeats exactly, but another seed gives the same episode: every start is the same")
    return Verdict("ok", f"{steps} steps repeat exactly from the same seed; another seed differs")


def actions(make: Make, *, sigma: float = 0.37, clipped: float = 0.5, steps: int = 20) -> Verdict:
    """The action space fits a Gaussian around 0 of deviation ``sigma``, and every action does something."""
    envs = make(1)
    try:
        low, high = envs.action_space.low.astype(float), envs.action_space.high.astype(float)
        noise = sigma * np.random.default_rng(0).standard_normal((10_000, len(low)))
        outside = ((noise < low) | (noise > high)).mean(0)
        worst = int(np.argmax(outside))
        if outside[worst] > clipped:
            return Verdict(
                "fault",
                f"{outside[worst]:.0%} of a new policy's actions {worst} are cut off at [{low[worst]:g}, {high[worst]:g}] "
                f"(sigma {sigma:g} around 0); let the environment scale its actions to [-1, 1]",
                "network.log_std=-3",
            )
        still = np.clip(np.zeros((steps, 1, len(low))), low, high).astype(envs.action_space.dtype)
        base, dead = play(envs, still), []
        for d in range(len(low)):
            pushed = still.copy()
            pushed[..., d] = high[d] if np.isfinite(high[d]) else 1.0
            seen = play(envs, pushed)
            if np.array_equal(seen.next_obs, base.next_obs) and np.array_equal(seen.reward, base.reward):
                dead.append(d)
    finally:
        envs.close()
    if dead:
        many = f"actions {', '.join(map(str, dead))} change" if len(dead) > 1 else f"action {dead[0]} changes"
        return Verdict("fault", f"{many} neither observation nor reward in {steps} steps")
    wide = float(np.max(high - low))
    if np.isfinite(wide) and wide > 100 * sigma:
        return Verdict(
            "fault",
            f"a range of {wide:g} against a first sigma of {sigma:g}: the policy would hardly explore it; scale to [-1, 1]",
            "action=tanh",
        )
    return Verdict("ok", f"{len(low)} actions, {outside.max():.0%} of a new policy's cut off, each has an effect")


def observations(make: Make, *, large: float = 1e3, steps: int = 300) -> Verdict:
    """Observations lie in their space and are of a size that a network can take."""
    seen = at_random(make, steps)
    envs = make(1)
    low, high = envs.observation_space.low, envs.observation_space.high
    envs.close()
    values = np.concatenate([seen.first[None], seen.next_obs]).reshape(-1, seen.first.shape[-1])
    out = ((values < low - 1e-6) | (values > high + 1e-6)).any(0)
    if out.any():
        d = int(np.argmax(out))
        reach = f"[{values[:, d].min():.4g}, {values[:, d].max():.4g}]"
        return Verdict("fault", f"entry {d} takes values in {reach}, outside its space [{low[d]:g}, {high[d]:g}]")
    size = np.abs(values).max(0)
    if size.max() > large:
        d = int(np.argmax(size))
        return Verdict("fault", f"entry {d} reaches {size[d]:.3g}; a network wants about 1", "normalise.obs=true")
    still = np.flatnonzero(np.ptp(values, 0) == 0)
    if len(still):
        return Verdict("note", f"{len(still)} of {len(size)} entries never change under random actions")
    return Verdict("ok", f"{len(size)} entries, largest {size.max():.3g}")


def rewards(make: Make, *, large: float = 100.0, small: float = 1e-4, steps: int = 300) -> Verdict:
    """Rewards are there, and of a size that a critic can take."""
    seen = at_random(make, steps)
    size = float(np.sqrt(np.mean(seen.reward**2)))
    if size == 0:
        return Verdict("note", f"no reward but 0 in {steps} random steps: sparse, or missing")
    text = f"root mean square {size:.3g}, from {seen.reward.min():.3g} to {seen.reward.max():.3g}"
    if not small <= size <= large:
        return Verdict(
            "fault", f"{text}: {'too large' if size > large else 'too small'} a unit", "normalise.reward=true"
        )
    if np.ptp(seen.reward) == 0:
        return Verdict("note", f"always {seen.reward.flat[0]:g}, whatever is done")
    return Verdict("ok", text)


def autoreset(make: Make, *, steps: int = 1000) -> Verdict:
    """Every row is a step: returns and lengths add up, and the row after an end belongs to the next episode."""
    seen = at_random(make, steps)
    ended = seen.terminated | seen.truncated
    if not ended.any():
        return Verdict("note", f"no episode ended in {steps} steps; nothing to see")
    going = ~ended
    if not np.array_equal(seen.obs[going], seen.next_obs[going]):
        return Verdict("fault", "within an episode, the observation to act on is not the successor that was reported")
    for i in range(ended.shape[1]):
        total, length = 0.0, 0
        for t in range(steps):
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


def truncation(make: Make, *, steps: int = 2500) -> Verdict:
    """A clock truncates, it does not terminate: nothing is bootstrapped from a termination."""
    seen = at_random(make, steps)
    ended = seen.terminated | seen.truncated
    if not ended.any():
        return Verdict("fault", f"no episode ended in {steps} steps under random actions; give the task a time limit")
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


def fuzz(make: Make, *, steps: int = 300, reach: float = 1e3) -> Verdict:
    """Actions at the corners of the space, and back and forth, give finite answers. Non-finite ones raise EnvError."""
    envs = make(2)
    try:
        corners = random_actions(envs, steps, 1, reach=reach)
        middle = (envs.action_space.low + envs.action_space.high) / 2
        middle = np.where(np.isfinite(middle), middle, 0.0)
        low = np.where(np.isfinite(envs.action_space.low), envs.action_space.low, -reach)
        high = np.where(np.isfinite(envs.action_space.high), envs.action_space.high, reach)
        corners = np.where(corners > middle, high, low).astype(corners.dtype)
        for seed in range(3):
            play(envs, corners, seed)
        play(envs, np.broadcast_to(high, corners.shape).astype(corners.dtype), 3)
        play(envs, np.broadcast_to(low, corners.shape).astype(corners.dtype), 4)
    finally:
        envs.close()
    return Verdict("ok", f"{5 * steps} steps at the corners of the action space are finite")


def speed(make: Make, *, slow: float = 300.0, steps: int = 200) -> Verdict:
    """Steps per second of one environment in this process."""
    envs = make(1)
    try:
        actions = random_actions(envs, steps)
        began = time.perf_counter()
        play(envs, actions)
        rate = steps / (time.perf_counter() - began)
    finally:
        envs.close()
    text = f"{rate:,.0f} steps a second on one core: half a million take {500_000 / rate / 60:,.1f} minutes"
    return Verdict("fault" if rate < slow else "ok", text, "workers=auto num_envs=16" if rate < slow else "")


CHECKS = (seeds, actions, observations, rewards, autoreset, truncation, fuzz, speed)


def examine(make: Make) -> dict[str, Verdict]:
    """Every check; what an environment raises is the verdict of the check that provoked it."""
    verdicts = {}
    for check in CHECKS:
        try:
            verdicts[check.__name__] = check(make)
        except EnvError as error:
            verdicts[check.__name__] = Verdict("fault", str(error))
    return verdicts


def show(name: str, verdicts: dict[str, Verdict], console: Console) -> int:
    """Print the verdicts; 1 where there is a fault, else 0."""
    styles = {"ok": "green", "note": "yellow", "fault": "bold red"}
    table = Table("check", "", "what was seen", title=name, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for check, verdict in verdicts.items():
        what = Text(verdict.what)
        if verdict.tries:
            what.append(f"\ntype {verdict.tries}", style="bold cyan")
        table.add_row(check, Text(verdict.level, style=styles[verdict.level]), what)
    console.print(table)
    faults = sum(verdict.level == "fault" for verdict in verdicts.values())
    console.print(f"\n{faults or 'no'} fault{'' if faults == 1 else 's'}")
    return int(faults > 0)
