"""Draw return over distance: ``python scripts/plot_distance.py outputs/comparison/distance.csv --out distance.png``

The table is that of a comparison with ``--x``: a panel for each distance, a line a method, its mean return and the interval.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a file, Python looks in scripts/ only

from ppo.config.extras import needs
from ppo.logging.files import write_atomically


def draw(rows: list[dict[str, str]], x: str, out: Path) -> None:
    """``rows`` of distance.csv, of one environment; ``x``: the metric that is the distance."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        panels.setdefault(row.get("match_kl") or "", []).append(row)
    methods = sorted({row["method"] for row in rows}, key=lambda method: _mean_return(rows, method))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels) + 1, 0.3 * len(methods) + 1.4), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, (distance, there) in zip(axes.flat, sorted(panels.items(), key=lambda item: float(item[0] or 0))):
        for row in there:
            at, mean = methods.index(row["method"]), float(row["return mean"])
            low, high = float(row["return low"]), float(row["return high"])
            axis.plot([low, high], [at, at], color="C0", lw=2, alpha=0.5)
            axis.plot(mean, at, "o", color="C3" if row["marked"] else "C0", ms=5)
        reached = [float(row[f"{x} mean"]) for row in there]
        title = f"target {distance} nat" if distance else "all"
        axis.set_title(f"{title}\n{x} {min(reached):.4f} to {max(reached):.4f}", fontsize=9)
        axis.set_yticks(range(len(methods)), methods, fontsize=8)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xlabel("return")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format=out.suffix[1:] or "png")
    plt.close(figure)
    write_atomically(out, picture.getvalue())


def _mean_return(rows: list[dict[str, str]], method: str) -> float:
    """Over its distances: what the methods are sorted by."""
    values = [float(row["return mean"]) for row in rows if row["method"] == method]
    return sum(values) / len(values)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="distance.csv of a comparison")
    parser.add_argument("--env", help="the environment to draw, where there are several")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        rows = list(csv.DictReader(io.StringIO(args.table.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        print(f"error: {args.table}: {error}", file=sys.stderr)
        return 2
    x = next((name.removesuffix(" mean") for name in rows[0] if name.endswith(" mean")), None) if rows else None
    envs = sorted({row["env"] for row in rows if "env" in row})
    if x is None or "return low" not in rows[0]:
        print(f"error: {args.table}: no table of distances; compare_runs.py --x kl/final writes one", file=sys.stderr)
        return 2
    if (env := args.env or envs[0]) not in envs or (len(envs) > 1 and args.env is None):
        print(f"error: --env {args.env or ''}: choose from {', '.join(envs)}", file=sys.stderr)
        return 2
    try:
        draw([row for row in rows if row["env"] == env], x, args.out)
    except ImportError:
        print(f"error: {needs('a picture', 'plots')}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:  # a format that cannot be drawn, a folder that takes no file
        print(f"error: {args.out}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
