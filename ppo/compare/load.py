"""The runs below the paths that were given: run folders, offline folders of wandb, or tables of other programs."""

from collections.abc import Iterator
from pathlib import Path

from ppo.compare.folders import read_run, read_wandb
from ppo.compare.table import read_csv
from ppo.compare.trial import CompareError, Trial, without_ends
from ppo.run.folder import run_folders

BESIDE_CELLS = ("multirun.yaml", "study.db", "optimization_results.yaml")  # what a shell's sweep/* gives as well


def load(paths: list[Path]) -> list[Trial]:
    """Every run of ``paths``. A run that did not finish is there too, with its reason.

    A folder is searched for runs at any depth, and only where there are none for CSV files.
    Raises CompareError where a path does not exist, holds no run or something damaged, and where tables and run folders
    are mixed.
    """
    found: dict[Path, list[Trial]] = {}  # by its file or folder: what is given twice counts once
    for path in paths:
        if not path.exists():
            raise CompareError(f"{path}: no such file or folder")
        if path.name in BESIDE_CELLS and len(paths) > 1:
            continue
        read = {path: read_csv(path)} if path.is_file() else dict(_below(path))
        if not any(read.values()):
            raise CompareError(
                f"{path}: no run below it (a run folder holds metrics.jsonl and run.json; a CSV file of other runs has "
                "the ending .csv)"
                if path.is_dir()
                else f"{path}: no run in it"
            )
        found |= {source.resolve(): trials for source, trials in read.items()}
    trials = [trial for several in found.values() for trial in several]
    if not trials:
        raise CompareError(f"{', '.join(map(str, paths))}: no run among these")
    if len({trial.arm is None for trial in trials}) > 1:
        raise CompareError("run folders and a CSV cannot be mixed: a CSV says nothing of what was evaluated and how")
    return trials if trials[0].arm is None else without_ends(trials)


def _below(path: Path) -> Iterator[tuple[Path, list[Trial]]]:
    runs = [(folder, [read_run(folder)]) for folder in run_folders(path)]
    for file in sorted(path.rglob("*.wandb")):
        inside = any((parent / "run.json").exists() for parent in file.resolve().parents)
        if not inside:  # the offline folder of one of ours is the same run again
            runs.append((file, [read_wandb(file)]))
    yield from runs or ((file, read_csv(file)) for file in sorted(path.rglob("*.csv")))
