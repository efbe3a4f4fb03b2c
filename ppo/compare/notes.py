"""What a reader of a verdict must know of the curves behind it: what was left out, and what is suspiciously alike."""

from collections.abc import Mapping, Sequence

from ppo.compare.arms import Arms
from ppo.compare.endpoints import SHORT, Span
from ppo.compare.trial import CURVES, steps_text


def about_curves(env: str, arms: Arms, spans: Mapping[str, Span]) -> list[str]:
    """Of each curve in ``spans``, the steps compared: where runs reach further, and which runs did not log it."""
    notes = []
    for curve, (first, last) in spans.items():
        name = CURVES[curve]
        runs = [(label, trial) for label, trials in arms.items() for trial in trials if not trial.failed]
        ends = [trial.curves[curve][0][[0, -1]] for _, trial in runs if curve in trial.curves]
        low, high = min((a for a, _ in ends), default=first), max((b for _, b in ends), default=last)
        if last - first < (1 - SHORT) * (high - low):
            notes.append(
                f"{env}: {name} is compared over steps {steps_text(first)} to {steps_text(last)}, which all finished "
                f"runs have; what lies outside is left out (the curves reach from {steps_text(low)} to {steps_text(high)})"
            )
        for label in arms:
            lacking = [str(trial.seed) for other, trial in runs if other == label and curve not in trial.curves]
            if lacking:
                notes.append(
                    f"{env}, {label}: {name} was not logged by seed {', '.join(lacking)}, which has no place in "
                    f"{curve}/final and {curve}/auc and is not counted as failed"
                )
    return notes


def about_same(env: str, arms: Arms, same: Mapping[tuple[str, str], Sequence[int]]) -> list[str]:
    """Which runs of two arms are equal to the last digit, where others of these arms are not."""
    common = {(a, b): {t.seed for t in arms[a]} & {t.seed for t in arms[b]} for a, b in same}
    return [
        f"{env}: {a} and {b} are equal to the last digit in seed {', '.join(map(str, seeds))}, and not in others"
        for (a, b), seeds in same.items()
        if seeds and {*seeds} != common[a, b]
    ]
