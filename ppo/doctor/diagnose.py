"""All checks together: which findings are causes, and which only follow from another."""

import inspect
import math
from collections.abc import Mapping

from ppo.config.options import suggest
from ppo.doctor import critic, limits, lost, policy, steps
from ppo.doctor.finding import Finding
from ppo.doctor.history import DoctorError, History
from ppo.doctor.remedy import useful

# In the order in which one would look: what makes other numbers meaningless first.
CHECKS = (
    limits.off_policy,
    limits.nonfinite,
    critic.reward_changed,
    lost.actions_clipped,
    lost.rewards_clipped,
    lost.advantages_zeroed,
    lost.obs_rounded,
    critic.value_clip,
    critic.value_bounded,
    critic.reward_unit,
    policy.sigma_tiny,
    policy.sigma_large,
    policy.sigma_frozen,
    policy.obs_clipped,
    steps.learning_rate,
    steps.epochs,
    limits.estimator,
    limits.target_tight,
    limits.target_unused,
    limits.penalty,
    steps.clip_small,
    steps.learning_rate_low,
    policy.dimension,
    policy.outliers,
    lost.value_beyond,
    critic.critic,
    critic.critic_lost,
    critic.value_loss,
    steps.growing_spikes,
    steps.collapse,
)
_CRITIC = ("critic", "critic_lost", "value_loss", "value_beyond")
_NO_SIGNAL = (*_CRITIC, "learning_rate_low", "outliers", "reward_unit", "value_clip", "value_bounded")
_EXPLORATION = ("sigma_tiny", "sigma_large", "sigma_frozen")
_STEPS = ("learning_rate", "epochs", "growing_spikes", "collapse", "target_unused")
_ALL = tuple(check.__name__ for check in CHECKS)
# What each cause brings about, so that it is not told twice.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "off_policy": tuple(name for name in _ALL if name != "nonfinite"),
    "nonfinite": _ALL,
    "reward_changed": (*_CRITIC, *_STEPS, "reward_unit", "outliers", "value_clip", "value_bounded"),
    "actions_clipped": (*_NO_SIGNAL, *_STEPS, "sigma_tiny", "sigma_frozen", "advantages_zeroed", "dimension"),
    "rewards_clipped": (*_NO_SIGNAL, *_STEPS, *_EXPLORATION, "advantages_zeroed", "dimension"),
    "advantages_zeroed": (*_NO_SIGNAL, "collapse"),
    "value_clip": (*_CRITIC, "collapse", "outliers"),
    "value_bounded": (*_CRITIC, "reward_unit", "collapse", "outliers"),
    "reward_unit": (*_CRITIC, "collapse", "learning_rate_low", "outliers"),
    "sigma_tiny": (
        *_STEPS,
        *_CRITIC,
        "dimension",
        "clip_small",
        "sigma_frozen",
        "outliers",
        "estimator",
        "target_tight",
    ),
    "sigma_large": (
        *_CRITIC,
        "actions_clipped",
        "growing_spikes",
        "collapse",
        "sigma_frozen",
        "clip_small",
        "learning_rate_low",
    ),
    "obs_clipped": _CRITIC,
    "learning_rate": (
        *_STEPS,
        *_CRITIC,
        "sigma_tiny",
        "sigma_frozen",
        "target_tight",
        "obs_clipped",
        "dimension",
        "outliers",
        "clip_small",
        "estimator",
    ),
    "epochs": (*_STEPS, *_CRITIC, "sigma_tiny", "dimension", "outliers", "clip_small"),
    "estimator": ("target_tight", "learning_rate_low", *_CRITIC),
    "target_tight": ("learning_rate_low", *_CRITIC),
    "learning_rate_low": (*_CRITIC, "collapse"),
    "growing_spikes": ("collapse",),
    "dimension": _CRITIC,  # what ends the updates early also leaves the critic with few steps
    "outliers": _CRITIC,
    "critic": ("critic_lost", "value_loss"),
    "critic_lost": ("value_loss",),
    "collapse": ("critic_lost", "value_loss"),
}
_SLACK = 2  # updates by which a consequence may show before its cause does


def diagnose(history: History, *, thresholds: Mapping[str, Mapping[str, float]] = {}) -> list[Finding]:
    """Every cause that the run shows, what is worth a restart first; empty for a healthy one.

    ``thresholds``: {"learning_rate": {"kl": 0.1}}, keyword-only arguments of the checks. A finding that follows from
    another which began no later is left out, and so is a remedy that the configuration has already, or that does not fit
    it. Raises DoctorError on an unknown threshold.
    """
    check_thresholds(thresholds)
    found = [finding for check in CHECKS if (finding := check(history, **thresholds.get(check.__name__, {})))]
    found = [f._replace(tries=_useful(f.tries, history)) for f in found]
    causes = [f for f in found if not any(_explains(other, f) for other in found if other is not f)]
    return sorted(causes or found[:1], key=lambda f: not f.restart)


def _useful(tries: tuple[str, ...], history: History) -> tuple[str, ...]:
    return tuple(dict.fromkeys(left for words in tries if (left := useful(words, history.config))))


def _explains(cause: Finding, other: Finding) -> bool:
    if other.cause not in FOLLOWS.get(cause.cause, ()):
        return False
    later = other.updates[0] - cause.updates[0]
    if cause.cause not in FOLLOWS.get(other.cause, ()):
        return later >= -_SLACK
    # Either may bring the other about: the first one did; where they came together, the one that is asked for first.
    return later > _SLACK or (abs(later) <= _SLACK and _ALL.index(cause.cause) < _ALL.index(other.cause))


def check_thresholds(thresholds: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DoctorError where a name is not that of a check's keyword-only argument, or its value no number."""
    known = [
        f"{check.__name__}.{p.name}"
        for check in CHECKS
        for p in inspect.signature(check).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    for check, options in thresholds.items():
        for name, value in options.items() if isinstance(options, Mapping) else [("", options)]:
            if f"{check}.{name}" not in known:
                raise DoctorError(f"{check}.{name}: no such threshold of the doctor{suggest(f'{check}.{name}', known)}")
            if not isinstance(value, int | float) or math.isnan(value):
                raise DoctorError(f"{check}.{name}={value}: must be a number")
