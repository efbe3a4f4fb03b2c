"""No dashboard: ``metrics.jsonl`` is all there is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppo.logging.base import Logger, Run


class Nothing:
    """Takes every call and keeps nothing."""

    run_id: str | None = None
    keeps = False

    def log(self, row: dict[str, float | int | str], env_steps: int) -> None:
        """Do nothing."""

    def alert(self, title: str, text: str) -> None:
        """Do nothing."""

    def picture(self, name: str, file: Path) -> None:
        """Do nothing."""

    def video(self, name: str, file: Path, env_steps: int) -> None:
        """Do nothing."""

    def keep(self, folder: Path, files: Sequence[str], about: dict[str, Any]) -> None:
        """Do nothing: the run folder has them."""

    def close(self, summary: dict[str, float | int | str], failed: bool) -> None:
        """Do nothing."""


def none(run: Run) -> Logger:
    """No dashboard."""
    return Nothing()
