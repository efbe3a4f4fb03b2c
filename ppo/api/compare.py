"""``ppo.compare``: what a comparison found, as sentences, numbers and a page."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppo.compare import page
from ppo.compare.report import sentences
from ppo.page.html import bullets, framed, write


class Verdict:
    """What a comparison found: sentences, numbers, a page of curves. In a notebook it shows them."""

    def __init__(self, comparison: Any):
        self._comparison = comparison
        self.numbers: dict[str, Any] = comparison.verdict

    @property
    def sentences(self) -> list[str]:
        """What is decided: one a pair and environment at the primary endpoint, each with its uncertainty."""
        return sentences(self.numbers)

    def save(self, file: str | os.PathLike) -> Path:
        """Write the page, with curves, tables and all, as one HTML file; where it is."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, page.of(self._comparison))
        return path

    def __repr__(self) -> str:
        return "\n".join(self.sentences) or "no pair to compare"

    def _repr_html_(self) -> str:
        return bullets(self.sentences) + framed(page.curves_of(self._comparison))


def verdict(
    *paths: str | os.PathLike,
    by: str | Sequence[str] = "",
    baseline: str | None = None,
    window: int | None = None,
    within: str | Sequence[str] = (),
    x: str | None = None,
    allow: str | Sequence[str] = (),
    sequential: bool = False,
    alpha: float = 0.05,
) -> Verdict:
    """Compare the arms of the runs below ``paths``: ``ppo.compare("outputs/sweep", by="kl", baseline="kl=exact")``.

    The options are those of ``scripts/compare_runs.py`` that say what is compared; docs/comparing.md explains them. Raises
    CompareError.
    """
    from ppo.compare.arms import split
    from ppo.compare.distance import compared
    from ppo.compare.load import load as trials

    return Verdict(
        compared(
            trials([Path(path) for path in paths]),
            by=split(by),
            within=split(within),
            x=x,
            baseline=baseline,
            window=window,
            allow=split(allow),
            alpha=alpha,
            sequential=sequential,
        )
    )
