"""The curves and rows of a comparison's page: learning curves, return over distance, final windows, P(A > B), profile, and the
trust region."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ppo.compare.compare import Comparison
from ppo.compare.trial import CURVES, Trial
from ppo.page.chart import Band, Choice, Curves, Dot, Line, Row, Rows, arm_colour
from ppo.page.thin import Curve, interpolated, mean_interval, mean_range

TRUST_REGION = {  # metric: title
    "kl/final": "KL(old‖new) after each update [nat]",
    "clip/fraction": "clip fraction",
    "policy/entropy": "entropy [nat]",
    "update/epochs": "epochs done",
}
STEPS = "environment steps"


def arms(comparison: Comparison) -> list[str]:
    """Every arm, in the order of its colours."""
    return list(dict.fromkeys(label for runs in comparison.envs.values() for label in runs))


def choices(comparison: Comparison) -> list[Choice]:
    """What the reader switches: the environment, and the endpoint that is looked at, the primary one first."""
    primary = comparison.verdict["primary"]
    endpoints = dict.fromkeys([primary, *(row["endpoint"] for row in comparison.verdict["arms"])])
    return [Choice("env", "environment", [*comparison.envs], all="all"), Choice("endpoint", "endpoint", [*endpoints])]


def charts(comparison: Comparison) -> list[Curves | Rows]:
    """All of them, of every environment and endpoint, those that are looked at first in front."""
    return [
        *_distances(comparison),
        *_curves(comparison),
        *_finals(comparison),
        *_improvements(comparison),
        *_profiles(comparison),
        *_panels(comparison),
    ]


def _curves(comparison: Comparison) -> Iterator[Curves]:
    """Returns over environment steps: every seed, the mean, its pointwise interval."""
    level = 1 - comparison.verdict["alpha"]
    for env in comparison.envs:
        for curve, name in CURVES.items():
            lines, bands = _arms_of(comparison, env, curve, partial(mean_interval, level=level))
            if lines:
                when = {"env": [env], "endpoint": [f"{curve}/final", f"{curve}/auc"]}
                note = f"A thin line a seed, the mean and its pointwise {100 * level:g} % interval (t, over seeds)."
                yield Curves(f"{env}: {name}", STEPS, lines, bands, note=note, group=env, when=when)


def _distances(comparison: Comparison) -> Iterator[Curves]:
    """With ``--x``: return over that metric, a line a method through its arms, with intervals both ways."""
    found = comparison.verdict.get("distance", {"rows": []})
    every, methods = arms(comparison), list(dict.fromkeys(row["method"] for row in found["rows"]))
    for env in dict.fromkeys(row["env"] for row in found["rows"]):
        lines, bands = [], []
        for i, method in enumerate(methods):
            points = [row for row in found["rows"] if (row["env"], row["method"]) == (env, method)]
            for row in points:
                x, y, arm = row["x"], row["return"], every.index(row["arm"])
                marked = f", not at its distance: {'; '.join(row['marks'])}" if row["marks"] else ""
                style = "rings" if marked else "dots"
                lines.append(Line(f"mean{marked}", np.array([x]), np.array([y]), arm_colour(i), arm, style))
                if np.isfinite(row["x_ci"]).all():
                    ends = f"interval of {found['x']}"
                    lines.append(Line(ends, np.array(row["x_ci"]), np.full(2, y), arm_colour(i), arm, "thin"))
            if points:
                x, y, low, high = np.array([[row["x"], row["return"], *row["return_ci"]] for row in points]).T
                bands.append(Band(method, x, y, low, high, arm_colour(i)))
        endpoint = next(row["endpoint"] for row in found["rows"] if row["env"] == env)
        note = (
            f"{endpoint}. A dot an arm, a ring one that is not at its distance; means over seeds, and"
            f" {100 * (1 - comparison.verdict['alpha']):g} % intervals of both."
        )
        label = f"{found['x']}, mean over updates"
        yield Curves(f"{env}: return over {found['x']}", label, lines, bands, note=note, when={"env": [env]})


def _panels(comparison: Comparison) -> Iterator[Curves]:
    """What the trust region did: every seed, the mean over seeds and their range."""
    for env in comparison.envs:
        for metric, title in TRUST_REGION.items():
            lines, bands = _arms_of(comparison, env, metric, mean_range)
            if lines:
                scale, note = "linear", "Mean and range of the seeds."
                if metric == "kl/final":
                    scale, note = "kl", "Mean and range of the seeds, over the bands of the KL."
                titled, when = f"{env}: {title}", {"env": [env]}
                yield Curves(titled, STEPS, lines, bands, scale=scale, note=note, group=env, when=when)


def _arms_of(comparison: Comparison, env: str, name: str, middle: Callable) -> tuple[list[Line], list[Band]]:
    """A thin line a run and a band an arm, of the runs that have the curve or metric ``name``."""
    lines, bands = [], []
    for arm, label in enumerate(arms(comparison)):
        trials = comparison.envs[env].get(label, ())
        found = [(trial, one) for trial in trials if (one := _series(trial, name)) is not None]
        for trial, (steps, values) in found:
            seed = f"seed {trial.seed}{', failed' if trial.failed else ''}"
            lines.append(Line(seed, steps, values, arm_colour(arm), arm, "thin"))
        if found:
            grid, values = interpolated([one for _, one in found])
            center, low, high = middle(np.where(np.isfinite(values), values, np.nan))
            many = f"mean of {len(found)} seed{'s' * (len(found) > 1)}"
            bands.append(Band(many, grid, center, low, high, arm_colour(arm), arm))
    return lines, bands


def _finals(comparison: Comparison) -> Iterator[Rows]:
    """A dot a seed, failed ones as crosses, mean and interval, an arm a row."""
    level = 1 - comparison.verdict["alpha"]
    for (env, endpoint), sampled in comparison.samples.items():
        rows = []
        for arm, label in enumerate(arms(comparison)):
            if label in sampled:
                sample = sampled[label]
                dots = [
                    Dot(float(value), f"seed {seed}", bool(failed))
                    for seed, value, failed in zip(sample.seeds, sample.values, sample.failed)
                ]
                mean, low, high = np.concatenate(mean_interval(sample.values[:, None], level=level))
                rows.append(Row(label, arm_colour(arm), dots, mean, low, high, [arm]))
        note = f"A dot a seed, a cross a failed one; the mean and its {100 * level:g} % interval."
        yield Rows(f"{env}: {endpoint}", endpoint, rows, note=note, when={"env": [env], "endpoint": [endpoint]})


def _improvements(comparison: Comparison) -> Iterator[Rows]:
    """P(A > B) with its interval, a pair a row."""
    colours = {label: i for i, label in enumerate(arms(comparison))}
    tested = [row for row in comparison.verdict["pairs"] if not row["same_run"]]
    for env, endpoint in dict.fromkeys((row["env"], row["endpoint"]) for row in tested):
        rows = [
            Row(
                f"{row['a']} > {row['b']}",
                arm_colour(colours[row["a"]]),
                [],
                row["superiority"]["p"],
                *row["superiority"]["ci"],
                [colours[row["a"]], colours[row["b"]]],
            )
            for row in tested
            if (row["env"], row["endpoint"]) == (env, endpoint)
        ]
        yield Rows(
            f"{env}: probability of improvement",
            f"P(A > B), {endpoint}",
            rows,
            limits=(0.0, 1.0),
            reference=0.5,
            note="How often a run of A beats a run of B, and Newcombe's interval; one half is no difference.",
            when={"env": [env], "endpoint": [endpoint]},
        )


def _profiles(comparison: Comparison, *, resamples: int = 1_000) -> Iterator[Curves]:
    """Share of runs above each score, averaged over environments; band: runs resampled within each environment."""
    grid = np.linspace(0, 1, 101)
    for endpoint in dict.fromkeys(endpoint for _, endpoint in comparison.samples):
        scaled: dict[str, list[np.ndarray]] = {}
        for (_, of), sampled in comparison.samples.items():
            if of == endpoint:
                every = np.concatenate([sample.values for sample in sampled.values()])
                low, width = every.min(), np.ptp(every)
                for label, sample in sampled.items():
                    scores = (sample.values - low) / width if width > 0 else np.zeros(len(sample.values))
                    scaled.setdefault(label, []).append(scores)
        rng, bands = np.random.default_rng(0), []
        for arm, label in enumerate(arms(comparison)):
            if strata := scaled.get(label):
                share = np.mean([_above(x, grid) for x in strata], axis=0)
                again = [_above(rng.choice(x, (resamples, len(x))), grid) for x in strata]
                low, high = np.quantile(np.mean(again, axis=0), (0.025, 0.975), axis=0)
                bands.append(Band("share above", grid, share, low, high, arm_colour(arm), arm, step=True))
        note = (
            "Share of runs above a score; 0 is the lowest and 1 the highest run of its environment. Higher is better."
        )
        yield Curves(f"performance profile, {endpoint}", "score", [], bands, note=note, when={"endpoint": [endpoint]})


def _above(scores: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """[..., n] scores -> [..., grid]: the share of them above each place of the grid."""
    return np.mean(scores[..., :, None] > grid, axis=-2)


def _series(trial: Trial, name: str) -> Curve | None:
    """One of the run's curves, or a metric of its rows; None where it did not log it."""
    if name in CURVES:
        return trial.curves.get(name)
    points = [(row["env_steps"], row[name]) for row in trial.rows if name in row]
    if not points:
        return None
    steps, values = np.array(points, dtype=float).T
    return steps, values
