"""Do the iteration of a crash bundle again: ``python scripts/replay.py RUN/crash/update_0000007.safetensors``.

Exit code 0 where the same numbers are not finite at the same place, from the same batch to the bit; 1 where not.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1]))
import ppo.train
from envs.base import EnvError, NotFinite
from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.crash import NonFinite, describe
from ppo.run.record import Record
from ppo.run.state import State
from ppo.update.loop import Halt


class NothingHappened(Exception):
    """The iteration ended with finite numbers."""


class Once(Record):
    """Ends the run where its first update would be recorded."""

    def __call__(self, state: State, metrics: dict, halt: Halt | None) -> None:
        super().__call__(state, metrics, halt)
        raise NothingHappened


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args(argv).bundle
    try:
        tensors, meta = checkpoint.load(bundle)
        if "crash" not in meta:
            raise checkpoint.CheckpointError(f"{bundle}: a checkpoint, not a crash bundle")
        with tempfile.TemporaryDirectory() as work:
            found = replay(bundle, meta, Path(work, "replay"))
    except (checkpoint.CheckpointError, ConfigError, EnvError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"kept:  {describe(meta['crash'])}")
    if found is None:
        print("again: every number was finite")
        return 1
    tensors_too, meta_too = found
    print(f"again: {describe(meta_too['crash'])}")
    batch = [name for name in tensors if name.startswith("batch.")]
    same_batch = all(_same(tensors[name], tensors_too[name]) for name in batch)
    if batch:
        print(f"batch: {'the same to the bit' if same_batch else 'another'}")
    return int(not (same_batch and meta["crash"] == meta_too["crash"]))


def replay(bundle: Path, meta: dict, folder: Path) -> tuple[dict, dict] | None:
    """What the bundle's iteration leaves when it is done again in ``folder``; None where nothing is wrong with it."""
    latest = folder / "checkpoints" / "latest.safetensors"
    latest.parent.mkdir(parents=True)
    shutil.copyfile(bundle, latest)
    rows = [{"update": meta["progress"]["updates"]}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = {
        "logger": {"_target_": "ppo.logging.none.none"},
        "on_nonfinite": "stop",
        "doctor": meta["config"]["doctor"] | {"live": False},
        "plots": False,
    }
    try:
        with patch.object(ppo.train, "Record", Once):
            ppo.train.train(OmegaConf.create(meta["config"] | changed), Run(folder, "replay", {}))
    except (NonFinite, NotFinite):
        (again,) = folder.glob("crash/*.safetensors")
        return checkpoint.load(again)
    except NothingHappened:
        pass
    return None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.contiguous().view(-1).view(torch.uint8).equal(other.contiguous().view(-1).view(torch.uint8))


if __name__ == "__main__":
    sys.exit(main())
