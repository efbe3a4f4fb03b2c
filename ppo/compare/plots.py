"""The pictures of a comparison, written as PNG. Needs matplotlib (the extra ``plots``)."""

from pathlib import Path

import numpy as np
from scipy import stats

from ppo.compare.arms import Arms
from ppo.compare.compare import Comparison
from ppo.compare.endpoints import CURVES, scores
from ppo.compare.load import Trial
from ppo.logging.panels import shade

AXES = {"eval": "evaluation return", "train": "training return", "return": "return"}
PANELS = {  # metric: title
    "kl/final": "KL(old‖new) after each update [nat]",
    "clip/fraction": "clip fraction",
    "policy/entropy": "entropy [nat]",
    "update/epochs": "epochs done",
}


def draw(comparison: Comparison, out: Path) -> dict[str, Path]:
    """Write every picture that the runs have data for; name -> file. Raises ImportError without matplotlib."""
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
        figure = draw_one(plt, comparison, colours)
        if figure is not None:
            drawn[draw_one.__name__] = out / f"{draw_one.__name__}.png"
            figure.savefig(drawn[draw_one.__name__], dpi=110)
            plt.close(figure)
    return drawn


def interpolated(runs: list[tuple[np.ndarray, np.ndarray]], *, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Curves on one grid [P] of steps: [runs, P], NaN where a run has no data (before its first point, after its last)."""
    every = np.unique(np.concatenate([steps for steps, _ in runs]))
    grid = every if len(every) <= points else np.linspace(every[0], every[-1], points)
    return grid, np.array([np.interp(grid, steps, values, left=np.nan, right=np.nan) for steps, values in runs])


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[runs, P] -> mean, low, high [P] over the runs that are there: t interval; no width below two runs."""
    n = np.isfinite(values).sum(0)
    total = np.nansum(values, 0)
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.nansum((values - mean) ** 2, 0)
    se = np.sqrt(np.divide(squares, n * (n - 1), out=np.zeros(len(n)), where=n > 1))
    half = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1)) * se
    return mean, mean - half, mean + half


def curves(plt, comparison: Comparison, colours: dict):
    names = [name for name in CURVES if any(name in t.curves for t in _trials(comparison))]
    figure, axes = plt.subplots(
        *(len(names), len(comparison.envs)),
        figsize=(max(7, 5 * len(comparison.envs)), 3.6 * len(names)),
        squeeze=False,
        layout="constrained",
    )
    for column, (env, arms) in enumerate(comparison.envs.items()):
        for axis, name in zip(axes[:, column], names):
            for label, trials in arms.items():
                runs = [trial.curves[name] for trial in trials if name in trial.curves]
                if runs:
                    _band_of_runs(axis, runs, colours[label], label, mean_interval, comparison.verdict["alpha"])
            axis.set(title=f"{env}: {AXES[name]}", xlabel="environment steps")
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    return figure


def _band_of_runs(axis, runs, colour, label, interval, alpha) -> None:
    for steps, values in runs:
        axis.plot(steps, values, color=colour, lw=0.7, alpha=0.35)
    grid, values = interpolated(runs)
    mean, low, high = interval(np.where(np.isfinite(values), values, np.nan), level=1 - alpha)
    axis.plot(grid, mean, color=colour, lw=2, label=label)
    axis.fill_between(grid, low, high, color=colour, alpha=0.15, lw=0)


def final(plt, comparison: Comparison, colours: dict):
    """Strip plot: a dot a seed, failed ones as crosses, mean and interval beside."""
    endpoint = _main_endpoint(comparison)
    figure, axes = plt.subplots(
        *(1, len(comparison.envs)),
        figsize=(max(7, 4 * len(comparison.envs)), 4),
        squeeze=False,
        layout="constrained",
    )
    for axis, (env, arms) in zip(axes[0], comparison.envs.items()):
        for place, (label, values, failed) in enumerate(_scored(arms, endpoint, comparison.verdict["window"])):
            shift = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
            for marker, which in (("o", ~failed), ("x", failed)):
                axis.scatter(place + shift[which], values[which], color=colours[label], marker=marker, s=28, alpha=0.8)
            mean, low, high = (
                float(x[0]) for x in mean_interval(values[:, None], level=1 - comparison.verdict["alpha"])
            )
            error = [[mean - low], [high - mean]]
            axis.errorbar(place + 0.28, mean, error, color=colours[label], marker="D", ms=5, capsize=4)
        axis.set(title=f"{env}: {endpoint}", xticks=range(len(arms)))
        axis.set_xticklabels([label.replace(",", "\n") for label in arms], fontsize=8)
        axis.grid(alpha=0.3, axis="y")
    return figure


def improvement(plt, comparison: Comparison, colours: dict):
    endpoint = _main_endpoint(comparison)
    rows = [row for row in comparison.verdict["pairs"] if row["endpoint"] == endpoint]
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(8, 1.4 + 0.45 * len(rows)), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        p, (low, high) = row["superiority"]["p"], row["superiority"]["ci"]
        axis.errorbar(p, place, xerr=[[p - low], [high - p]], color=colours[row["a"]], marker="o", capsize=4)
    axis.axvline(0.5, color="grey", lw=1, ls="--")
    axis.set(xlim=(-0.02, 1.02), xlabel=f"P(A > B), {endpoint}", yticks=range(len(rows)))
    axis.set_yticklabels([f"{row['env']}: {row['a']} > {row['b']}" for row in reversed(rows)], fontsize=8)
    axis.grid(alpha=0.3, axis="x")
    return figure


def profile(plt, comparison: Comparison, colours: dict, *, resamples: int = 1_000):
    """Share of runs above each score, averaged over environments; band: runs resampled within each environment."""
    endpoint = _main_endpoint(comparison)
    scaled: dict[str, list[np.ndarray]] = {}
    for arms in comparison.envs.values():
        rows = list(_scored(arms, endpoint, comparison.verdict["window"]))
        every = np.concatenate([values for _, values, _ in rows])
        low, width = every.min(), np.ptp(every)
        for label, values, _ in rows:
            scaled.setdefault(label, []).append((values - low) / width if width > 0 else np.zeros(len(values)))
    grid, rng = np.linspace(0, 1, 101), np.random.default_rng(0)
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for label, strata in scaled.items():
        shares = np.mean([np.mean(x[:, None] > grid, axis=0) for x in strata], axis=0)
        drawn = [np.mean(rng.choice(x, (resamples, len(x)))[..., None] > grid, axis=1) for x in strata]
        low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975), axis=0)
        axis.step(grid, shares, where="post", color=colours[label], lw=2, label=label)
        axis.fill_between(grid, low, high, step="post", color=colours[label], alpha=0.15, lw=0)
    axis.set(
        xlabel=f"score: {endpoint}, 0 the lowest and 1 the highest run of its environment", ylabel="share of runs above"
    )
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def panels(plt, comparison: Comparison, colours: dict):
    """What the trust region did: mean over seeds and the range of them, an environment a row."""
    if not any(trial.rows for trial in _trials(comparison)):
        return None
    size = (len(comparison.envs), len(PANELS))
    figure, axes = plt.subplots(*size, figsize=(17, 3.6 * size[0]), squeeze=False, layout="constrained")
    for row, (env, arms) in enumerate(comparison.envs.items()):
        for axis, (metric, title) in zip(axes[row], PANELS.items()):
            for label, trials in arms.items():
                runs = [series for trial in trials if (series := _series(trial, metric))]
                if runs:
                    _band_of_runs(axis, runs, colours[label], label, _range, comparison.verdict["alpha"])
            if metric == "kl/final":
                shade(axis)
            axis.set(title=f"{env}: {title}" if metric == "kl/final" else title, xlabel="environment steps")
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    return figure


def _range(values: np.ndarray, *, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest of the runs that are there; the signature of ``mean_interval``."""
    low, high = (
        np.nan_to_num(f(np.where(np.isfinite(values), values, s), 0)) for f, s in ((np.min, 1e30), (np.max, -1e30))
    )
    return mean_interval(values, level=level)[0], low, high


def _series(trial: Trial, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    points = [(row["env_steps"], row[metric]) for row in trial.rows if metric in row]
    if not points:
        return None
    steps, values = np.array(points, dtype=float).T
    return steps, values


def _scored(arms: Arms, endpoint: str, window: int | None):
    """(label, values, failed) of each arm, as the verdict has them."""
    values, failed = scores([trial for trials in arms.values() for trial in trials], endpoint, window=window)
    ends = np.cumsum([len(trials) for trials in arms.values()])[:-1]
    yield from zip(arms, np.split(values, ends), np.split(failed, ends))


def _main_endpoint(comparison: Comparison) -> str:
    return f"{next(name for name in CURVES if any(name in trial.curves for trial in _trials(comparison)))}/final"


def _trials(comparison: Comparison) -> list[Trial]:
    return [trial for arms in comparison.envs.values() for trials in arms.values() for trial in trials]
