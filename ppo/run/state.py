"""What changes while training, between two updates."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ppo.buffer.rewards import RewardScale
from ppo.control.progress import Seen
from ppo.control.schedule import Chosen
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
    best: float | None = None  # the best evaluation so far

    def note(self, metrics: Mapping[str, Any], halt: Halt | None) -> "State":
        """With what the options of the next update will read of this one.

        How far an update went is the chosen estimator at its end, or the KL of what it had to undo.
        """
        seen = Seen(
            kl=float(halt.value if halt and halt.undone else metrics["kl/chosen"]),
            clip_fraction=float(metrics.get("clip/fraction", 0.0)),
            reference_kl=_number(metrics, "reference/kl"),
            demo_ratio=_number(metrics, "bc/ppo_ratio"),
        )
        return self._replace(seen=seen, advantage_scale=_number(metrics, "advantage/scale"))


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    return float(metrics[name]) if name in metrics else None
