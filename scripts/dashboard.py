"""A local web page over the runs in ``outputs/``, live while they train: ``make dashboard``, or

``python scripts/dashboard.py [FOLDER ...] [--port 7860]``. It reads the runs' metrics.jsonl, whichever logger they have, and
keeps what trackio needs in FOLDER/.trackio. Needs the extra `trackio`.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppo.config.extras import needs
from ppo.config.options import dotted
from ppo.logging.base import first_line
from ppo.logging.jsonl import read
from ppo.run.folder import run_folders, run_json

PROJECT = "runs"


def add_new(folders: list[Path], storage, seen: dict[Path, list[int]]) -> int:
    """Add to trackio's ``storage`` what it lacks of the runs below ``folders``; the number of rows added.

    A run that was started anew in its folder (its last row lies before the last one stored) replaces the old one.
    ``seen``: when each file and its run's status were last written; what was not since is not read again. A folder that cannot be
    read costs one line each time it changes.
    """
    added = 0
    for file in sorted({run / "metrics.jsonl" for folder in folders for run in run_folders(folder)}):
        run = file.parent
        written = [path.stat().st_mtime_ns for path in (file, run / "run.json") if path.is_file()]
        if not file.is_file() or seen.get(file) == written:
            continue
        seen[file] = written
        try:
            rows, words = read(file), varied(run)
            if run_json(run).get("status") == "running":
                rows = rows[:-1]  # an evaluation may yet be added to it
            settings = configuration(run, words)
        except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
            print(f"{run}: left out: {first_line(error)}", file=sys.stderr)
            continue
        if not rows:
            continue
        id = str(run.resolve())
        name = f"{run.parent.name}/{','.join(words)}"
        known = storage.get_max_step_for_run(PROJECT, run_id=id)
        if known is not None and rows[-1]["env_steps"] < known:
            storage.delete_run(PROJECT, name, run_id=id)
            known = None
        new = [dict(row) for row in rows if known is None or row["env_steps"] > known]
        steps = [int(row.pop("env_steps")) for row in new]
        storage.bulk_log(PROJECT, name, new, steps, config=settings if known is None else None, run_id=id)
        added += len(new)
    return added


def varied(run: Path) -> list[str]:
    """The words of a run's name without those that its sweep gave to every cell."""
    words = re.split(r",(?=[\w.+]+=)", run.name)
    sweep = run.parent / "multirun.yaml"
    common = OmegaConf.select(OmegaConf.load(sweep), "hydra.overrides.task") if sweep.is_file() else None
    return [word for word in words if word not in (common or ())] or words


def configuration(run: Path, words: list[str]) -> dict:
    """What trackio groups and filters by: arm and sweep, then every key of the configuration, options by their names."""
    # Not resolved: a run writes no interpolation, and ${oc.env:...} would show what is secret.
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=False)
    flat = dict(dotted(config)) if isinstance(config, dict) else {}
    options = {key.removesuffix("._target_"): str(flat.pop(key)) for key in [*flat] if key.endswith("._target_")}
    arm = ",".join(word for word in words if not word.startswith("seed="))
    return {"arm": arm, "_Group": run.parent.name} | flat | {k: v.rsplit(".", 1)[-1] for k, v in options.items()}


def main(argv: list[str] | None = None) -> int:
    """Serve the page until Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(prog="dashboard.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("outputs")])
    parser.add_argument("--port", type=int, help="[7860, or the next free one]")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks at the runs [%(default)s]")
    args = parser.parse_args(argv)
    for folder in args.folders:
        if not folder.is_dir():
            print(f"error: {folder}: no such folder", file=sys.stderr)
            return 2
    os.environ |= {"TRACKIO_DIR": str((args.folders[0] / ".trackio").resolve()), "HF_HUB_OFFLINE": "1"}
    try:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage
    except ImportError:
        print(f"error: {needs('the dashboard', 'trackio')}", file=sys.stderr)
        return 2
    seen: dict[Path, list[int]] = {}
    SQLiteStorage.init_db(PROJECT)
    add_new(args.folders, SQLiteStorage, seen)
    trackio.show(PROJECT, open_browser=sys.stdout.isatty(), block_thread=False, share=False, server_port=args.port)
    try:
        while True:
            time.sleep(args.every)
            add_new(args.folders, SQLiteStorage, seen)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
