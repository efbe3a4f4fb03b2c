"""The pictures of a comparison, written as PNG. Needs matplotlib (the extra ``plots``)."""

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppo.compare.compare import Comparison
from ppo.compare.drawing import STYLE, band_of_runs, grid, legend, mean_interval, mean_range, shortened
from ppo.compare.endpoints import Sample
from ppo.compare.trial import CURVES, Curve, Trial
from ppo.logging.base import first_line
from ppo.logging.files import write_atomically
from ppo.logging.panels import shade

TRUST_REGION = {  # metric: title
    "kl/final": "KL(old‖new) after each update [nat]",
    "clip/fraction": "clip fraction",
    "policy/entropy": "entropy [nat]",
    "update/epochs": "epochs done",
}


def draw(comparison: Comparison, out: Path, say: Callable[[str], None]) -> dict[str, Path]:
    """Write every picture that the runs have data for; name -> file. One that fails costs a line, passed to ``say``.

    Raises ImportError without matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    main = _main_endpoint(comparison).split("/")[0]
    logged = {
        env: arms for env, arms in comparison.envs.items() if any(main in t.curves for ts in arms.values() for t in ts)
    }
    comparison = comparison._replace(envs=logged)  # without an environment whose runs all died before a return
    labels = list(dict.fromkeys(row["arm"] for row in comparison.verdict["arms"]))
    palette = plt.get_cmap("tab10" if len(labels) <= 10 else "tab20")
    colours = {label: palette(i % palette.N) for i, label in enumerate(labels)}
    drawn = {}
    for draw_one in (curves, final, improvement, profile, panels):
        file = out / f"{draw_one.__name__}.png"
        file.unlink(missing_ok=True)  # one of an earlier comparison must not stand beside this one's numbers
        try:
            with plt.rc_context(STYLE), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
                if (figure := draw_one(plt, comparison, colours)) is not None:
                    picture = io.BytesIO()
                    figure.savefig(picture, dpi=110, format="png")
                    write_atomically(file, picture.getvalue())
                    drawn[draw_one.__name__] = file
        except Exception as error:  # whatever a drawing library raises; the numbers must not be lost by it
            say(f"no picture {file.name}: {first_line(error)}")
        finally:
            plt.close("all")
    return drawn


def curves(plt, comparison: Comparison, colours: dict):
    """Returns over environment steps: an environment a column, a curve that was logged a row."""
    names = [name for name in CURVES if any(name in t.curves for t in _trials(comparison))]
    figure, axes = grid(plt, len(names), len(comparison.envs), width=5, height=3.6)
    drawn: dict[str, Any] = {}
    for column, (env, arms) in enumerate(comparison.envs.items()):
        for axis, name in zip(axes[:, column], names):
            for label, trials in arms.items():
                runs = [trial.curves[name] for trial in trials if name in trial.curves]
                if runs:
                    line = band_of_runs(axis, runs, colours[label], mean_interval, comparison.verdict["alpha"])
                    drawn.setdefault(label, line)
            axis.set(title=f"{shortened(env)}: {CURVES[name]}", xlabel="environment steps")
            axis.grid(alpha=0.3)
    legend(axes[0, 0], drawn)
    return figure


def final(plt, comparison: Comparison, colours: dict):
    """Strip plot: a dot a seed, failed ones as crosses, mean and interval beside."""
    endpoint = _main_endpoint(comparison)
    figure, axes = grid(plt, 1, len(comparison.envs), width=4, height=4)
    for axis, env in zip(axes[0], comparison.envs):
        arms = comparison.samples[env, endpoint]
        for place, (label, sample) in enumerate(arms.items()):
            n = len(sample.values)
            shift = np.linspace(-0.12, 0.12, n) if n > 1 else np.zeros(1)
            for marker, which in (("o", ~sample.failed), ("x", sample.failed)):
                xy = place + shift[which], sample.values[which]
                axis.scatter(*xy, color=colours[label], marker=marker, s=28, alpha=0.8)
            mean, low, high = np.concatenate(
                mean_interval(sample.values[:, None], level=1 - comparison.verdict["alpha"])
            )
            error = [[mean - low], [high - mean]]
            axis.errorbar(place + 0.28, mean, error, color=colours[label], marker="D", ms=5, capsize=4)
        axis.set(title=f"{shortened(env)}: {endpoint}", xticks=range(len(arms)))
        axis.set_xticklabels([shortened(label, wide=16) for label in arms], fontsize=8)
        axis.grid(alpha=0.3, axis="y")
    return figure


def improvement(plt, comparison: Comparison, colours: dict):
    """P(A > B) with its interval, a pair a line."""
    endpoint = _main_endpoint(comparison)
    rows = [row for row in comparison.verdict["pairs"] if row["endpoint"] == endpoint and not row["same_run"]]
    if not rows:
        return None
    names = [f"{shortened(row['env'])}: {shortened(row['a'])}\n> {shortened(row['b'])}" for row in reversed(rows)]
    lines = sum(name.count("\n") + 1 for name in names)
    figure, axis = plt.subplots(figsize=(8, 1.4 + 0.25 * lines), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        p, (low, high) = row["superiority"]["p"], row["superiority"]["ci"]
        axis.errorbar(p, place, xerr=[[p - low], [high - p]], color=colours[row["a"]], marker="o", capsize=4)
    axis.axvline(0.5, color="grey", lw=1, ls="--")
    axis.set(xlim=(-0.02, 1.02), xlabel=f"P(A > B), {endpoint}", yticks=range(len(rows)))
    axis.set_yticklabels(names, fontsize=8)
    axis.grid(alpha=0.3, axis="x")
    return figure


def profile(plt, comparison: Comparison, colours: dict, *, resamples: int = 1_000):
    """Share of runs above each score, averaged over environments; band: runs resampled within each environment."""
    endpoint = _main_endpoint(comparison)
    scaled: dict[str, list[np.ndarray]] = {}
    for env in comparison.envs:
        arms: Mapping[str, Sample] = comparison.samples[env, endpoint]
        every = np.concatenate([sample.values for sample in arms.values()])
        low, width = every.min(), np.ptp(every)
        for label, sample in arms.items():
            scores = (sample.values - low) / width if width > 0 else np.zeros(len(sample.values))
            scaled.setdefault(label, []).append(scores)
    grid, rng = np.linspace(0, 1, 101), np.random.default_rng(0)
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    drawn = {}
    for label, strata in scaled.items():
        shares = np.mean([np.mean(x[:, None] > grid, axis=0) for x in strata], axis=0)
        again = [np.mean(rng.choice(x, (resamples, len(x)))[..., None] > grid, axis=1) for x in strata]
        low, high = np.quantile(np.mean(again, axis=0), (0.025, 0.975), axis=0)
        drawn[label] = axis.step(grid, shares, where="post", color=colours[label], lw=2)[0]
        axis.fill_between(grid, low, high, step="post", color=colours[label], alpha=0.15, lw=0)
    axis.set_xlabel(f"score: {endpoint}, 0 the lowest and 1 the highest run of its environment")
    axis.set_ylabel("share of runs above")
    legend(axis, drawn)
    axis.grid(alpha=0.3)
    return figure


def panels(plt, comparison: Comparison, colours: dict):
    """What the trust region did: mean over seeds and the range of them, an environment a row."""
    if not any(trial.rows for trial in _trials(comparison)):
        return None
    figure, axes = grid(plt, len(comparison.envs), len(TRUST_REGION), width=4.25, height=3.6)
    drawn: dict[str, Any] = {}
    for row, (env, arms) in enumerate(comparison.envs.items()):
        for axis, (metric, title) in zip(axes[row], TRUST_REGION.items()):
            for label, trials in arms.items():
                runs = [series for trial in trials if (series := _series(trial, metric))]
                if runs:
                    line = band_of_runs(axis, runs, colours[label], mean_range, comparison.verdict["alpha"])
                    drawn.setdefault(label, line)
            if metric == "kl/final":
                shade(axis)
            axis.set(title=f"{shortened(env)}: {title}" if metric == "kl/final" else title, xlabel="environment steps")
            axis.grid(alpha=0.3)
    legend(axes[0, 0], drawn)
    return figure


def _series(trial: Trial, metric: str) -> Curve | None:
    points = [(row["env_steps"], row[metric]) for row in trial.rows if metric in row]
    if not points:
        return None
    steps, values = np.array(points, dtype=float).T
    return steps, values


def _main_endpoint(comparison: Comparison) -> str:
    return f"{next(name for name in CURVES if any(name in trial.curves for trial in _trials(comparison)))}/final"


def _trials(comparison: Comparison) -> list[Trial]:
    return [trial for arms in comparison.envs.values() for trials in arms.values() for trial in trials]
