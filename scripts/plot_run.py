"""Plot runs: return, KL with its bands, explained variance, clip fraction. ``python scripts/plot_run.py RUN... --out x.png``"""

import argparse
import sys
from pathlib import Path

from ppo.logging.jsonl import read
from ppo.logging.panels import shade

PANELS = (  # title, metrics drawn as lines, metrics drawn as dots
    ("return", ["train/return"], ["eval/return"]),
    ("KL(old‖new) after each update [nat]", ["kl/final"], []),
    ("explained variance", ["value/explained_variance"], []),
    ("clip fraction", ["clip/fraction"], []),
)


def plot(runs: list[Path], out: Path) -> None:
    """One column of panels over environment steps, one colour a run."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), sharex=True, layout="constrained")
    for number, run in enumerate(runs):
        rows = read(run / "metrics.jsonl" if run.is_dir() else run)
        for axis, (_, lines, dots) in zip(axes.flat, PANELS, strict=True):
            for names, style in ((lines, "-"), (dots, "o")):
                for name in names:
                    points = [(row["env_steps"], row[name]) for row in rows if name in row]
                    label = f"{run.name} {name}" if len(runs) <= 6 and (dots or len(runs) > 1) else None
                    axis.plot(*zip(*points, strict=True), style, color=f"C{number}", ms=4, lw=1.2, label=label)
    for axis, (title, _, _) in zip(axes.flat, PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    shade(axes[0, 1])
    for axis in axes[-1]:
        axis.set_xlabel("environment steps")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, default=Path("runs.png"))
    args = parser.parse_args()
    for run in args.runs:
        if not (run / "metrics.jsonl").exists():
            sys.exit(f"error: {run}: no metrics.jsonl there")
    plot(args.runs, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
