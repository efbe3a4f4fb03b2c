"""Learning results: ``python scripts/results.py outputs/mine outputs/sb3 --arm exactkl --csv docs/data/defaults.csv``.

Reads run folders, and tables such as those of train_sb3.py, and prints a Markdown table: for each environment and arm the
deterministic evaluation at the end over seeds. ``--csv`` writes the curves as one table `env,arm,seed,step,return`, which
compare_runs.py reads (what the file has already and is not given again stays), ``--picture`` draws them.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # started as a file, Python looks in scripts/ only

import numpy as np

from ppo.compare.load import load
from ppo.compare.stats import MIN_SEEDS, summary
from ppo.compare.table import COLUMNS
from ppo.compare.trial import CompareError, Curve, Trial
from ppo.config.extras import needs
from ppo.logging.files import write_atomically
from ppo.page.thin import interpolated, mean_interval

BULLET = {
    "ant": "Ant",
    "hopper": "Hopper",
    "halfcheetah": "HalfCheetah",
    "walker2d": "Walker2D",
    "humanoid": "Humanoid",
    "reacher": "Reacher",
    "inverted_pendulum": "InvertedPendulum",
    "inverted_double_pendulum": "InvertedDoublePendulum",
    "inverted_pendulum_swingup": "InvertedPendulumSwingup",
}
Results = dict[tuple[str, str, int], Curve]  # by environment, arm and seed


def name(env: str) -> str:
    """One name for a task, whoever's world it is: the Bullet robots are ours, and pybullet-envs-gymnasium's."""
    return f"{BULLET[env]}Bullet" if env in BULLET else re.sub(r"BulletEnv-v0$", "Bullet", env)


def results(paths: list[Path], arm: str | None) -> Results:
    """The evaluations of every run below ``paths``; run folders are the arm ``arm``."""
    found: Results = {}
    for path in paths:
        for trial in load([path]):
            if trial.failed:
                raise CompareError(f"{trial.source}: seed {trial.seed} of {trial.env} failed: {trial.failed}")
            key, curve = (name(trial.env), _arm(trial, arm), trial.seed), "eval" if trial.arm is None else "return"
            if curve not in trial.curves:
                raise CompareError(
                    f"{trial.source}: seed {trial.seed} of {trial.env} has no evaluations; eval.episodes=10"
                )
            if key in found:
                raise CompareError(f"{trial.source}: {key[1]}, seed {key[2]} of {key[0]} is there twice")
            found[key] = trial.curves[curve]
    return found


def ends(curves: Sequence[Curve]) -> tuple[float, np.ndarray]:
    """(the last step that all of them have, what each returned last until there)."""
    last = min(steps[-1] for steps, _ in curves)
    return last, np.array([values[steps <= last][-1] for steps, values in curves])


def _arm(trial: Trial, given: str | None) -> str:
    arm = trial.arm or given
    if arm is None:
        raise CompareError(f"{trial.source}: a run folder; say which arm it is by --arm")
    return arm


def as_csv(found: Results) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for (env, arm, seed), (steps, values) in sorted(found.items()):
        table.writerows((env, arm, seed, int(step), f"{value:.2f}") for step, value in zip(steps, values))
    return out.getvalue()


def markdown(found: Results) -> str:
    """A row for each environment and arm; the last evaluation of each run, in steps that all of them have."""
    lines = [
        "| environment | steps | arm | seeds | mean ± std | IQM [95 %] | lowest, highest |",
        "|---|---|---|---|---|---|---|",
    ]
    for env, arm in sorted({key[:2] for key in found}):
        curves = [curve for key, curve in sorted(found.items()) if key[:2] == (env, arm)]
        last, values = ends(curves)
        s = summary(values)
        low, high = s["iqm_ci"]
        lines.append(
            f"| {env} | {last:,.0f} | {arm} | {s['n']} | {s['mean']:,.0f} ± {s['std']:,.0f} | "
            f"{s['iqm']:,.0f} [{low:,.0f}, {high:,.0f}] | {s['min']:,.0f}, {s['max']:,.0f} |"
        )
    return "\n".join(lines)


def draw(found: Results, file: Path) -> None:
    """Learning curves: a panel an environment, a colour an arm, a thin line a seed, the band an interval of the mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    envs, arms = sorted({key[0] for key in found}), sorted({key[1] for key in found})
    columns = min(4, len(envs))
    rows = -(-len(envs) // columns)
    size = (max(7.0, 3.4 * columns), 2.8 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    drawn = {}
    for axis, env in zip(axes.flat, envs):
        for i, arm in enumerate(arms):
            if curves := [curve for key, curve in found.items() if key[:2] == (env, arm)]:
                for steps, values in curves:
                    axis.plot(steps, values, color=f"C{i}", lw=0.7, alpha=0.35)
                steps, values = interpolated(curves)
                mean, low, high = mean_interval(values)
                if len(curves) >= MIN_SEEDS:  # of two runs the interval is as high as the picture, and says nothing
                    axis.fill_between(steps, low, high, color=f"C{i}", alpha=0.15, lw=0)
                drawn[arm] = axis.plot(steps, mean, color=f"C{i}", lw=2)[0]
        axis.set_title(env, fontsize=9)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:,.0f}k")
    for axis in axes.flat[len(envs) :]:
        axis.axis("off")
    axes.flat[0].legend([*drawn.values()], [*drawn], fontsize=8)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=110, format="png")
    write_atomically(file, whole.getvalue())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="run folders at any depth, CSV files, folders of them")
    parser.add_argument("--arm", help="what to call the runs of run folders")
    parser.add_argument("--csv", type=Path, help="write the curves there, beside what it has")
    parser.add_argument("--picture", type=Path, help="draw the curves there (PNG)")
    args = parser.parse_args(arguments)
    try:
        before = results([args.csv], None) if args.csv and args.csv.exists() else {}
        found = before | results(args.paths, args.arm)
        if args.csv:
            args.csv.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(args.csv, as_csv(found))
        print(markdown(found))
        if args.picture:
            draw(found, args.picture)
    except ImportError:
        print(f"error: {needs('--picture', 'plots')}", file=sys.stderr)
        return 2
    except (CompareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
