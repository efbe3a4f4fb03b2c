"""Do the iteration of a crash bundle again: ``python scripts/replay.py RUN/crash/update_0000007.safetensors``.

Exit code 0 where the same numbers are not finite at the same place, from the same batch to the bit; 1 where not.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1]))
from envs.base import EnvError, NotFinite
from envs.fault import keep
from ppo.config.foreign import foreign
from ppo.config.options import ConfigError
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.crash import NonFinite, describe
from ppo.run.folder import import_from_here
from ppo.train import train


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="let it name this package")
    args = parser.parse_args(argv)
    import_from_here()
    try:
        tensors, meta = checkpoint.load(args.bundle)
        if "crash" not in meta:
            raise checkpoint.CheckpointError(f"{args.bundle}: a checkpoint, not a crash bundle")
        cfg = foreign(meta["config"], args.trust, args.bundle)
        with tempfile.TemporaryDirectory() as work:
            found = replay(args.bundle, cfg, meta["progress"]["updates"], Path(work, "replay"))
    except (checkpoint.CheckpointError, ConfigError, EnvError) as error:
        keep(error)
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


def replay(bundle: Path, cfg: DictConfig, update: int, folder: Path) -> tuple[dict, dict] | None:
    """What the bundle's iteration, the one after ``update``, leaves when it is done again in ``folder``; None where nothing
    is wrong with it."""
    latest = folder / "checkpoints" / "latest.safetensors"
    latest.parent.mkdir(parents=True)
    shutil.copyfile(bundle, latest)
    (folder / "metrics.jsonl").write_text(json.dumps({"update": update}) + "\n")
    changed = {
        "logger": {"_target_": "ppo.logging.none.none"},
        "on_nonfinite": "stop",
        "doctor": {"live": False},
        "plots": False,
        "eval": {"episodes": 0},
    }
    try:
        train(cast(DictConfig, OmegaConf.merge(cfg, changed)), Run(folder, "replay", {}), updates=1)
    except (NonFinite, NotFinite):
        (again,) = folder.glob("crash/*.safetensors")
        return checkpoint.load(again)
    return None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.contiguous().view(-1).view(torch.uint8).equal(other.contiguous().view(-1).view(torch.uint8))


if __name__ == "__main__":
    sys.exit(main())
