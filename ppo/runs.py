"""Where runs are on the disk."""

from pathlib import Path


def run_folders(below: Path) -> list[Path]:
    """Every run folder at or below a path, sorted. What a sweep put aside, in a hidden folder, is no run any more, and
    what a dashboard keeps inside of a run is none."""
    found = {file.parent for name in ("run.json", "metrics.jsonl") for file in below.rglob(name)}
    return sorted(folder for folder in found if not _hidden(folder.relative_to(below)))


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") or part == "wandb" for part in folder.parts)
