"""Checks of the critic and of the unit that rewards are in.

Each check is one function ``(history) -> Finding | None``; its keyword-only arguments are its thresholds.
"""

import numpy as np

from ppo.doctor.finding import Finding, span
from ppo.doctor.history import History, middle, tail
from ppo.doctor.remedy import slower


def reward_changed(history: History, *, factor: float = 5.0, least: int = 2, window: int = 5) -> Finding | None:
    """Where the run was resumed, rewards a step before and after (medians of ``window`` updates, ``least`` after) differ by
    ``factor``: the environment pays in another unit than the one that critic and reward scale were made with."""
    each = np.abs(history["train/return"] / history["train/length"])
    numbers = history["update"]
    for resumed in history.resumed:
        after = numbers > resumed
        was, now = middle(each[~after][-window:]), middle(each[after][:window])
        if after.sum() < least or not was > 0 or not now > 0 or 1 / factor <= now / was <= factor:
            continue
        return Finding(
            "reward_changed",
            "the reward scale changed since the checkpoint was made",
            span(history, after),
            f"resumed after update {resumed}: {was:.3g} of reward a step before, {now:.3g} since; rewards are divided by "
            f"{middle(history['reward/scale'][~after][-1:]):.3g} as before, and the critic's values no longer fit",
            ("hydra.run.dir=outputs/NEW",),
            restart=True,
        )
    return None


def value_clip(history: History, *, factor: float = 50.0, explained: float = 0.5) -> Finding | None:
    """value=clipped lets a prediction move by value.eps an update, while the targets spread over ``factor`` times that."""
    eps, spread = history.option("value.eps"), middle(tail(history["target/std"]))
    if history.chosen("value") != "clipped" or len(history) < 5 or not spread > factor * eps:
        return None
    if not middle(tail(history["value/explained_variance"])) < explained:
        return None
    return Finding(
        "value_clip",
        "the clipped value loss holds the critic back",
        span(history, history["value/explained_variance"] < explained),
        f"value.eps {eps:g} against a spread of targets of {spread:.3g}; explained variance "
        f"{middle(tail(history['value/explained_variance'])):.2f}",
        # Where rewards are in a wrong unit, mse alone would be worse: its gradient drowns the policy's.
        ("value=mse",) if history.option("normalise.reward", False) else ("normalise.reward=true",),
        restart=True,
    )


def value_bounded(history: History, *, factor: float = 50.0, explained: float = 0.5) -> Finding | None:
    """Rewards are not scaled, and the loss lets no sample pull harder than at a distance of value.delta (huber) or
    value.kappa (quantile), while the targets are ``factor`` times that: the critic does not get there."""
    key = {"huber": "value.delta", "quantile": "value.kappa"}.get(history.chosen("value"), "")
    size = middle(tail(np.hypot(history["target/mean"], history["target/std"])))
    bound, knows = history.option(key, 1.0), middle(tail(history["value/explained_variance"]))
    if not key or history.option("normalise.reward", False) or len(history) < 5:
        return None
    if not size > factor * bound or not knows < explained:
        return None
    return Finding(
        "value_bounded",
        f"the targets are out of reach of value={history.chosen('value')}",
        span(history, history["value/explained_variance"] < explained),
        f"{key} {bound:g} against targets of {size:.3g} (root mean square); explained variance {knows:.2f}",
        ("normalise.reward=true",),
        restart=True,
    )


def reward_unit(
    history: History, *, large: float = 1000.0, suspect: float = 50.0, explained: float = 0.2, small: float = 1e-5
) -> Finding | None:
    """Rewards are not scaled and in the wrong unit: value targets (root mean square) above ``large``, or above
    ``suspect`` where explained variance stays below ``explained``; or less than ``small`` of reward a step."""
    if history.option("normalise.reward", False) or len(history) < 5:
        return None
    size = np.hypot(history["target/mean"], history["target/std"])
    each = np.abs(history["train/return"] / history["train/length"])
    typical, knows = middle(tail(size)), middle(tail(history["value/explained_variance"]))
    facts = f"value targets of {typical:.3g} (root mean square), explained variance {knows:.2g}"
    far = (
        not middle(tail(history["loss/value"])) < 1e-3 * typical**2
    )  # a critic that has arrived is none that never does
    if typical > large or (typical > suspect and far and not knows >= explained):
        effect, mask = "too large: the critic never arrives, and its loss drowns the policy's gradient", size > suspect
        facts += f", gradient norm {middle(tail(history['grad/norm'])):.3g} before clipping"
    elif 0 < middle(tail(each)) < small:
        effect, mask = "too small: beside the critic's own noise they are nothing", each < small
        facts += f", reward a step {middle(tail(each)):.2g}"
    else:
        return None
    seen = f"rewards are in a unit that is {effect}"
    rare = middle(tail(history.largest_advantage)) > 15  # then it is by these that all others would be divided
    tries = () if rare or _would_be_clipped(history) else ("normalise.reward=true",)
    return Finding("reward_unit", seen, span(history, mask), facts, tries, restart=True)


def _would_be_clipped(history: History) -> bool:
    """Whether rewards divided by the deviation of their discounted sum would all lie at the clip: in episodes of one step,
    where that deviation is the reward's own, a large offset does this."""
    each = middle(np.abs(history["train/return"] / history["train/length"]))
    deviation = middle(tail(history["target/std"]))
    return middle(history["train/length"]) < 2 and each > history.option("normalise.clip_reward", 10.0) * deviation


def critic(history: History, *, explained: float = 0.1, early: float = 0.6) -> Finding | None:
    """The median explained variance of the last third is below ``explained``, when a share ``early`` of the training is
    done: before that it may be. Episodes of one step are left out: there it is 0 for the best critic too, wherever the
    start says nothing of the reward."""
    column = history["value/explained_variance"]
    level = middle(tail(column))
    if len(history) < 8 or history.progress < early or not level < explained or np.nanmax(column) >= 0.5:
        return None
    if middle(history["train/length"]) == 1:
        return None
    weight, tries = history.option("coef.value", 0.5), ()
    seen = "the critic foresees nothing: advantages are as noisy as returns"
    if weight == 0:
        seen = "the critic is not trained: coef.value=0"
    if weight < 0.1:
        tries = ("coef.value=0.5",)
    elif history.stopped.mean() >= 0.8 and middle(history.done) < 0.25:
        # What ends the policy's update ends the critic's; a larger rate would only end both sooner.
        tries = ("target_kl=0.02",) if history.option("target_kl", 1.0) < 0.02 else ()
    elif middle(tail(history.kl)) < 0.01:  # the same rate moves policy and critic
        tries = (slower(history, 1 / 3),)
    worth = "; below 0 the mean of the returns would do better" if level < 0 else ""
    loss = middle(tail(history["loss/value"]))
    why = f"explained variance {level:.2g} in the last third, {np.nanmax(column):.2g} at best; value loss {loss:.3g}{worth}"
    return Finding("critic", seen, span(history, column < explained), why, tries, restart=level < -0.05)


def critic_lost(history: History, *, fall: float = 0.4, good: float = 0.5) -> Finding | None:
    """Explained variance was at least ``good`` and has fallen by ``fall``: medians of five, now against the best.
    Episodes of one step are left out, as in ``critic``."""
    column = history["value/explained_variance"]
    if len(history) < 10 or middle(history["train/length"]) == 1:
        return None
    smooth = np.array([middle(column[max(0, i - 4) : i + 1]) for i in range(len(column))])
    top = int(np.nanargmax(smooth)) if np.isfinite(smooth).any() else 0
    if not smooth[top] >= good or not smooth[-1] < smooth[top] - fall:
        return None
    return Finding(
        "critic_lost",
        "the critic knew the returns and has lost them",
        span(history, np.arange(len(column)) > top),
        f"explained variance {smooth[top]:.2f} around update {history.where(top)}, {smooth[-1]:.2f} now",
        (slower(history, 3), *(["value=clipped"] if history.chosen("value") == "mse" else [])),
        restart=bool(smooth[-1] < 0),
    )


def value_loss(history: History, *, factor: float = 30.0, share: float = 0.5) -> Finding | None:
    """The value loss has grown to ``factor`` times its median and is above a ``share`` of the targets' variance, so that
    it is not the targets that grew."""
    loss = history["loss/value"]
    usual, now = middle(loss[1:]), middle(loss[-3:])
    variance = middle(history["target/std"][-3:] ** 2)
    if len(history) < 8 or not now > factor * usual or not now > share * variance:
        return None
    return Finding(
        "value_loss",
        "the value loss explodes",
        span(history, loss > factor * usual),
        f"{now:.3g} in the last updates, {usual:.3g} usually; the targets' variance is {variance:.3g}",
        (slower(history, 3),),
        restart=True,
    )
