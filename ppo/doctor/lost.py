"""Checks of what is lost on the way: actions cut at the bounds, rewards clipped, advantages set to 0, observations rounded
away, values that no return can reach.

Each check is one function ``(history) -> Finding | None``; its keyword-only arguments are its thresholds.
"""

from ppo.doctor.finding import Finding, percent, span
from ppo.doctor.foresee import SUBTRACT
from ppo.doctor.history import History, middle, tail
from ppo.doctor.remedy import slower


def actions_clipped(history: History, *, share: float = 0.5) -> Finding | None:
    """More than a ``share`` of the actions' entries were cut at the bounds, from the first update on: whatever the policy
    changes, the environment receives the same. A policy that came to the bounds by itself may be right to be there."""
    cut = middle(tail(history["action/clipped"]))
    if len(history) < 3 or not min(cut, history["action/clipped"][0]) > share:
        return None
    narrower = " network.log_std=-1" if history.option("network.log_std", -1.0) > 0 else ""
    return Finding(
        "actions_clipped",
        "most actions lie outside the bounds, and the environment receives the bound",
        span(history, history["action/clipped"] > share),
        f"{percent(cut)} of the entries are cut off (median of the last third); the policy begins around 0, wherever the "
        "bounds lie",
        (f"action=tanh{narrower}",),
        restart=True,
    )


def rewards_clipped(history: History, *, share: float = 0.25) -> Finding | None:
    """More than a ``share`` of the scaled rewards lie at the clip, so that they no longer differ: an offset that is large
    beside what the actions change."""
    cut = middle(tail(history["reward/clipped"]))
    if len(history) < 3 or not cut > share:
        return None
    limit = history.option("normalise.clip_reward", 10.0)
    return Finding(
        "rewards_clipped",
        "rewards are clipped: what they differ by is lost",
        span(history, history["reward/clipped"] > share),
        f"{percent(cut)} of the rewards, divided by {middle(tail(history['reward/scale'])):.3g}, lie at "
        f"+-normalise.clip_reward={limit:g}",
        ("normalise.reward=false",),
        restart=True,
    )


def advantages_zeroed(history: History, *, share: float = 0.5) -> Finding | None:
    """The normaliser set more than a ``share`` of the advantages to 0, since the set that each is compared with has no
    spread; or all advantages of the rollouts are equal."""
    zeroed = middle(tail(history["advantage/zeroed"]))
    equal = middle(tail(history["advantage/std"])) == 0
    if len(history) < 3 or not (zeroed > share or equal):
        return None
    name, samples = history.chosen("norm"), history.samples
    tries = []
    if samples < 64:
        tries.append("num_steps=128 minibatch_size=64")
        why = f"a rollout is {samples} sample{'s' * (samples > 1)}: there is nothing to compare with"
    elif equal:
        why = "the advantages of a rollout are all the same: nothing that was done made a difference to the reward"
    else:
        why = f"norm={name} compares each with a set that has no spread"
        tries.append("norm=global")
        if name == "minibatch":
            tries.append("minibatch_size=64")
    part = f"; {percent(zeroed)} of the samples set to 0" if zeroed > share else ""
    return Finding(
        "advantages_zeroed",
        "advantages are 0: the policy has nothing to learn from",
        span(history, (history["advantage/zeroed"] > share) | (history["advantage/std"] == 0)),
        why + part,
        (*tries,),
        restart=True,
    )


def obs_rounded(history: History, *, share: float = 0.0) -> Finding | None:
    """Columns of the observation vary by less than float32 can say at their size: they are constant, or nearly."""
    rounded = middle(tail(history["obs/rounded"]))
    if len(history) < 3 or not rounded > share:
        return None
    return Finding(
        "obs_rounded",
        "observations are rounded away: no digits are left for what varies in them",
        span(history, history["obs/rounded"] > share),
        f"{percent(rounded)} of the columns vary by less than the last digit of their mean; {SUBTRACT}",
        (),
    )


def value_beyond(history: History, *, share: float = 0.05) -> Finding | None:
    """More than a ``share`` of the critic's values lie beyond max |r| / (1 - gamma), r of the run so far: no return can be as
    large."""
    beyond = middle(tail(history["value/beyond"]))
    if len(history) < 3 or not beyond > share:
        return None
    return Finding(
        "value_beyond",
        "the critic promises more than any return can be",
        span(history, history["value/beyond"] > share),
        f"{percent(beyond)} of its values are beyond the largest reward so far over 1 - gamma; mean value "
        f"{middle(tail(history['value/mean'])):.3g}, mean target {middle(tail(history['target/mean'])):.3g}",
        (slower(history, 3),),
        restart=True,
    )
