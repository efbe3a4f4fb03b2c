"""A run's policy as one ONNX file, on the command line: see ``ppo.run.onnx_file``."""

import argparse
import sys
from pathlib import Path

from envs.base import EnvError
from envs.fault import keep
from ppo.config.options import ConfigError
from ppo.run import checkpoint
from ppo.run.artifact import is_one, located
from ppo.run.folder import import_from_here
from ppo.run.onnx_file import ExportError, export

__all__ = ["ExportError", "export", "main"]


def main(argv: list[str] | None = None) -> None:
    """Command line. Exit code 2 on bad input or a policy that cannot be exported."""
    parser = argparse.ArgumentParser(description="Write a run's policy as one ONNX file, and check it.")
    parser.add_argument("run", type=Path, help="a run folder, a checkpoint file, or wandb:ENTITY/PROJECT/NAME")
    parser.add_argument("--checkpoint", default="latest", help="latest (default), best, or the name of a numbered one")
    parser.add_argument(
        "--out", type=Path, help="default: policy.onnx in the run folder or beside the checkpoint; of wandb: here"
    )
    parser.add_argument("--observations", type=int, default=1000, help="recorded for the check")
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="let it name this package")
    args = parser.parse_args(argv)
    import_from_here()
    try:
        run = located(args.run)
        folder = Path() if is_one(args.run) else run if run.is_dir() else run.parent
        out = args.out or folder / "policy.onnx"
        if args.observations < 1:
            raise ConfigError(f"--observations {args.observations}: must be at least 1")
        if out.suffix != ".onnx":
            raise ConfigError(f"--out {out}: the file must end in .onnx")
        said = export(run, out, which=args.checkpoint, trust=args.trust, observations=args.observations)
    except (ExportError, ConfigError, EnvError, checkpoint.CheckpointError, OSError) as error:
        keep(error)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    where = f"{said['observations']} observations of {said['env']}"
    print(
        f"{out}: differs from PyTorch by at most {said['max_difference']:.1e} on {where}, config {said['config_hash'][:12]}"
    )


if __name__ == "__main__":
    main()
