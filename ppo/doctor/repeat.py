"""Checks of an environment: does it repeat, and can it be continued?"""

import numpy as np

from envs.base import EnvError
from envs.generator import Globals
from ppo.doctor.play import Subject, Verdict, drawn, play


def seeds(subject: Subject, *, steps: int = 200) -> Verdict:
    """The same seed and actions give the same episode: in a fresh environment, and again in the same one."""
    before = Globals.now()
    envs = subject.make(2)
    try:
        actions = drawn(envs, steps)
        once = play(envs, actions, until=subject.until)
        again, other = (play(envs, actions[: once.steps], seed) for seed in (0, 1))
    finally:
        envs.close()
    envs = subject.make(2)
    try:
        fresh = play(envs, actions[: once.steps])
    finally:
        envs.close()
    used = before.used()
    culprit = f"it draws from {' and '.join(used)}, which" if used else "it has a generator that"
    for where, seen in (("in a fresh environment", fresh), ("after a reset of the same environment", again)):
        cause = f"{culprit} no seed governs; self.np_random is what reset(seed=...) sets"
        if seen is again and not used:  # in a fresh one it repeated
            cause = "something of it outlives an episode, a simulation or a counter; reset() must make it anew"
        if not np.array_equal(once.first, seen.first):
            return Verdict("fault", f"the same seed gives another first observation {where}: {cause}")
        differs = (once.next_obs != seen.next_obs).any((1, 2)) | (once.reward != seen.reward).any(1)
        if differs.any():
            at = int(np.argmax(differs)) + 1
            return Verdict("fault", f"the same seed and actions part at step {at} {where}: {cause}")
    if np.array_equal(once.first, other.first) and np.array_equal(once.next_obs, other.next_obs):
        return Verdict("note", "repeats exactly, but another seed gives the same episode: every start is the same")
    return Verdict("ok", f"{once.steps} steps repeat exactly from the same seed; another seed differs")


def state(subject: Subject, *, steps: int = 50, more: int = 20) -> Verdict:
    """A running episode, which is not the first one, can be saved and continued in a fresh environment: what resuming a run
    needs."""
    envs = subject.make(2)
    try:
        actions = drawn(envs, steps + more)
        play(envs, actions, 1, until=subject.until)
        done = play(envs, actions[:steps], until=subject.until).steps
        saved = envs.state()
        here = [
            (np.array(step.next_obs), np.array(step.reward)) for step in map(envs.step, actions[done : done + more])
        ]
        envs.close()
        envs = subject.make(2)
        envs.set_state(saved)
        there = [
            (np.array(step.next_obs), np.array(step.reward)) for step in map(envs.step, actions[done : done + more])
        ]
    except EnvError as error:
        return Verdict(
            "note", f"a run of it cannot be resumed exactly, only with new episodes: {error}", "exact_resume=false"
        )
    finally:
        envs.close()
    same = all(
        np.array_equal(a, b) for one, two in zip(here, there, strict=True) for a, b in zip(one, two, strict=True)
    )
    if not same:
        return Verdict("note", "continued from its saved state, it parts from what it did before", "exact_resume=false")
    return Verdict("ok", f"saved after {done} steps, it continues exactly in a fresh environment")
