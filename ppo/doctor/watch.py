"""The doctor while a run trains: each cause is reported once, when it is first seen."""

from typing import Any

from gymnasium.spaces import Space

from ppo.doctor.diagnose import check_thresholds, diagnose
from ppo.doctor.finding import Finding
from ppo.doctor.foresee import foreseeable
from ppo.doctor.history import History
from ppo.logging.band import BANDS, band_at


class Watch:
    """``watch(row)`` takes an update's metrics and returns the findings that are new.

    ``config``: the run's, as plain containers; ``doctor.live`` and ``doctor.thresholds`` in it are heeded. ``spaces``: of
    observations and actions; what they let foresee is in ``foreseen``, a line each. Looks at ``window`` updates, the first
    fifth of them where the run began, which some checks compare with, and the others its last ones; and not after every one
    of a long run: every fiftieth part of what it has seen. A cause must be seen ``sure`` times in a
    row before it is reported, so that a bad moment is none. Raises DoctorError on an unknown threshold.
    """

    def __init__(self, config: dict[str, Any], *spaces: Space, window: int = 1000, sure: int = 3):
        options = config.get("doctor") or {}
        self._live, self._thresholds = options.get("live", True), options.get("thresholds") or {}
        check_thresholds(self._thresholds)
        self._config, self._sure = config, sure
        self.foreseen = foreseeable(config, *spaces) if spaces else []
        self._rows: list[dict] = []
        self._window = window
        self._seen: dict[str, int] = {}  # how often in a row each cause was seen by now
        self._told: set[str] = set()

    def __call__(self, row: dict) -> list[Finding]:
        if not self._live:
            return []
        self._rows.append(row)
        if len(self._rows) > self._window:
            del self._rows[self._window // 5]
        if row["update"] % max(1, row["update"] // 50):
            return []
        found = diagnose(History([*self._rows], self._config), thresholds=self._thresholds)
        self._seen = {f.cause: self._seen.get(f.cause, 0) + 1 for f in found}
        new = [f for f in found if self._seen[f.cause] >= self._sure and f.cause not in self._told]
        self._told |= {f.cause for f in new}
        return new

    def metrics(self, row: dict) -> dict[str, int]:
        """What is logged of it: the band of the update's KL, and how many causes were told by now."""
        if not self._live:
            return {}
        progress = row["env_steps"] / self._config.get("total_steps", row["env_steps"] or 1)
        return {"doctor/band": BANDS.index(band_at(row["kl/final"], progress)), "doctor/findings": len(self._told)}
