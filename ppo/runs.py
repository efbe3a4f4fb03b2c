"""Where runs are on the disk, and what one is worth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppo.logging.jsonl import read


def run_folders(below: Path) -> list[Path]:
    """Every run folder at or below a path, sorted. What a sweep put aside, in a hidden folder, is no run any more, and
    what a dashboard keeps inside of a run is none."""
    found = {file.parent for name in ("run.json", "metrics.jsonl") for file in below.rglob(name)}
    return sorted(folder for folder in found if not _hidden(folder.relative_to(below)))


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") or part == "wandb" for part in folder.parts)


def final(values: Sequence[float] | np.ndarray, window: int | None = None) -> float:
    """Mean of the last ``window`` points; by default the last tenth, at least one."""
    return float(np.mean(values[-(window or max(1, len(values) // 10)) :]))


def endpoint(folder: Path) -> float:
    """What the run in ``folder`` is worth: the final window of its deterministic evaluations, as a comparison reads it,
    and not its best one, which would reward luck. NaN where there was none."""
    values = [float(row["eval/return"]) for row in read(folder / "metrics.jsonl") if "eval/return" in row]
    return final(values) if values else float("nan")
