"""Plot runs: return, KL with its bands, explained variance, clip fraction. ``python scripts/plot_run.py RUN... --out x.png``"""

import argparse
import io
import math
import sys
from pathlib import Path

from ppo.config.extras import needs
from ppo.logging.files import write_atomically
from ppo.logging.jsonl import read
from ppo.logging.panels import shade

PANELS = (  # title, metrics drawn as lines, metrics drawn as dots
    ("return", ["train/return"], ["eval/return"]),
    ("KL(old‖new) after each update [nat]", ["kl/final"], []),
    ("explained variance", ["value/explained_variance"], []),
    ("clip fraction", ["clip/fraction"], []),
)


def plot(runs: list[Path], out: Path) -> None:
    """One column of panels over environment steps, one colour a run; a panel of which no run has a number says so."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), sharex=True, layout="constrained")
    for number, run in enumerate(runs):
        rows = read(run / "metrics.jsonl" if run.is_dir() else run)
        for axis, (_, lines, dots) in zip(axes.flat, PANELS, strict=True):
            for name in (*lines, *dots):
                points = [(row["env_steps"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
                if points:
                    label = f"{run.name} {name}" if len(runs) <= 6 and (dots or len(runs) > 1) else None
                    style = "o" if name in dots else "-"
                    axis.plot(*zip(*points, strict=True), style, color=f"C{number}", ms=4, lw=1.2, label=literal(label))
    for axis, (title, lines, dots) in zip(axes.flat, PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        if not axis.lines:
            says = f"no {' or '.join((*lines, *dots))} in these runs"
            axis.text(0.5, 0.5, says, ha="center", va="center", transform=axis.transAxes, color="grey")
            axis.set_yticks([])
    if axes[0, 0].get_legend_handles_labels()[0]:
        axes[0, 0].legend(fontsize=7)
    if axes[0, 1].lines:
        shade(axes[0, 1])
    for axis in axes[-1]:
        axis.set_xlabel("environment steps")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format=out.suffix[1:] or "png")
    plt.close(figure)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, picture.getvalue())


def literal(label: str | None) -> str | None:
    """A dollar is a dollar, and a leading underscore no reason to leave a label out."""
    return None if label is None else " " * label.startswith("_") + label.replace("$", r"\$")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, default=Path("runs.png"))
    args = parser.parse_args(arguments)
    wrong = next((f"{run}: no metrics.jsonl there" for run in args.runs if not (run / "metrics.jsonl").exists()), None)
    try:
        if wrong is None:
            plot(args.runs, args.out)
    except ImportError:
        wrong = needs("a picture", "plots")
    except (ValueError, OSError) as error:  # a damaged row, a format that cannot be drawn, a folder that takes no file
        wrong = " ".join(str(error).split())
    print(f"error: {wrong}" if wrong else args.out, file=sys.stderr if wrong else sys.stdout)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
