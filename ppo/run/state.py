"""What changes while training, between two updates."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from ppo.buffer.rewards import RewardScale
from ppo.control.progress import Seen
from ppo.control.schedule import Chosen
from ppo.network.memory import Memory
from ppo.network.normaliser import Moments
from ppo.update.loop import Halt
from ppo.update.optim import Learner


class State(NamedTuple):
    """With the parts' generator and environments, all that a checkpoint must hold.

    Every leaf is a tensor or something that JSON can hold; a field that is added here is saved and restored.
    """

    learner: Learner
    obs_moments: Moments
    reward_scale: RewardScale
    chosen: Chosen  # the numbers of the last update
    seen: Seen = Seen()
    env_steps: int = 0
    updates: int = 0
    advantage_scale: float | None = None  # what norm= kept
    memory: Memory = ()  # [N, M] of the policy, where the world lives; see ppo.network.memory
    recalled: Memory = ()  # [N, R] of the reference policy
    constants: dict[str, Tensor] | tuple[()] = ()  # of the network, where it has any; see ppo.network.flat
    reference: dict[str, Tensor] | tuple[()] = ()  # the reference policy: the run that it was read from may go on
    reference_config: str | None = None  # and be gone: what that run was trained with, as JSON

    def note(self, metrics: Mapping[str, Any], halt: Halt | None) -> "State":
        """With what the options of the next update will read of this one.

        How far an update went is the chosen estimator at its end, or the KL of what it had to undo.
        """
        undone = halt is not None and halt.undone
        seen = Seen(
            kl=float(halt.value if undone else metrics["kl/chosen"]),
            clip_fraction=_number(metrics, "clip/fraction"),
            reference_kl=_number(metrics, "reference/kl"),
            demo_ratio=_number(metrics, "bc/ppo_ratio"),
        )
        chosen = self.chosen
        if chosen.match:
            chosen = chosen._replace(match=chosen.match.saw(float(metrics["kl/final"]), halt.value if undone else None))
        return self._replace(chosen=chosen, seen=seen, advantage_scale=_number(metrics, "advantage/scale"))


class Kept(NamedTuple):
    """What a run's own checkpoint holds of its reference policy; of none, nothing."""

    tensors: Mapping[str, Tensor] = MappingProxyType({})
    config: str | None = None


_EARLIER = {  # fields of the state in checkpoints of earlier versions, where all were beside each other
    "lr": "chosen.lr",
    "clip_low": "chosen.clip_low",
    "clip_high": "chosen.clip_high",
    "kl": "seen.kl",
    "clip_fraction": "seen.clip_fraction",
    "reference_kl": "seen.reference_kl",
    "demo_ratio": "seen.demo_ratio",
}


def in_todays_names(progress: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's plain numbers, {"chosen.lr": 3e-4, "updates": 12, ...}, whatever version wrote them."""
    if "lr" not in progress:
        return dict(progress)
    coef = {"kl": "beta", "reference": "reference_coef", "demo": "demo_coef"}
    named = {_EARLIER.get(name, name): value for name, value in progress.items() if name not in coef.values()}
    return named | {"chosen.coef": {name: progress.get(key) for name, key in coef.items()}}


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    return float(metrics[name]) if name in metrics else None
