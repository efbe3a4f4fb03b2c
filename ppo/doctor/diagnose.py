"""All checks together: which findings are causes, and which only follow from another."""

import inspect
from collections.abc import Mapping

from ppo.config.options import suggest
from ppo.doctor import critic, limits, policy, steps
from ppo.doctor.finding import Finding
from ppo.doctor.history import DoctorError, History

# In the order in which one would look: what makes other numbers meaningless first.
CHECKS = (
    limits.off_policy,
    limits.nonfinite,
    critic.reward_changed,
    critic.value_clip,
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
    critic.critic,
    critic.critic_lost,
    critic.value_loss,
    steps.growing_spikes,
    steps.collapse,
)
_CRITIC = ("critic", "critic_lost", "value_loss")
_EXPLORATION = ("sigma_tiny", "sigma_large", "sigma_frozen")
_STEPS = ("learning_rate", "epochs", "growing_spikes", "collapse", "target_unused")
_ALL = tuple(check.__name__ for check in CHECKS)
# What each cause brings about, so that it is not told twice.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "off_policy": tuple(name for name in _ALL if name != "nonfinite"),
    "nonfinite": _ALL,
    "reward_changed": (*_CRITIC, *_STEPS, "reward_unit", "outliers", "value_clip"),
    "value_clip": (*_CRITIC, "collapse", "outliers"),
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
    "sigma_large": (*_CRITIC, *_STEPS, "clip_small", "learning_rate_low"),
    "obs_clipped": _CRITIC,
    "learning_rate": (
        *_STEPS,
        *_CRITIC,
        *_EXPLORATION,
        "obs_clipped",
        "dimension",
        "outliers",
        "clip_small",
        "estimator",
    ),
    "epochs": (*_STEPS, *_CRITIC, "sigma_tiny", "sigma_large", "dimension", "outliers", "clip_small"),
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
    another which began no later is left out. Raises DoctorError on a threshold that there is not.
    """
    check_thresholds(thresholds)
    found = [finding for check in CHECKS if (finding := check(history, **thresholds.get(check.__name__, {})))]
    causes = [f for f in found if not any(_explains(other, f) for other in found if other is not f)]
    return sorted(causes or found[:1], key=lambda f: not f.restart)


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
            if not isinstance(value, int | float):
                raise DoctorError(f"{check}.{name}={value}: must be a number")
