"""The command line of a comparison: ``python scripts/compare_runs.py outputs/ab --by kl --baseline kl=exact``."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from ppo.compare import report
from ppo.compare.compare import compare
from ppo.compare.load import CompareError, load

WIDTH = 160  # columns of a pipe or a file, which have none of their own


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="compare_runs.py", description="From runs to a verdict; see docs/comparing.md.")
    p.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="run folders, at any depth, or a CSV")
    p.add_argument("--by", default="", help="what was changed: groups or dotted keys, such as kl,norm,lr.value")
    p.add_argument("--baseline", help="the arm to compare with (norm=none); without it every two arms are compared")
    p.add_argument("--window", type=int, metavar="K", help="final endpoint: mean of the last K evaluations [a tenth]")
    p.add_argument("--allow", action="append", default=[], metavar="KEY", help="keys that may differ; may be repeated")
    p.add_argument("--sequential", action="store_true", help="decide by a test that may be looked at after every seed")
    p.add_argument("--alpha", type=float, default=0.05, help="probability of a false alarm [0.05]")
    p.add_argument(
        "--out", type=Path, default=Path("outputs/comparison"), help="verdict.json, report.html, PNG [%(default)s]"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Compare and write; the exit code. What a person can mend comes as one line and exit code 2."""
    args = parser().parse_args(arguments)
    try:
        comparison = compare(
            load(args.paths),
            by=_words([args.by]),
            baseline=args.baseline,
            window=args.window,
            allow=_words(args.allow),
            alpha=args.alpha,
            sequential=args.sequential,
        )
        args.out.mkdir(parents=True, exist_ok=True)
        report.write_json(comparison.verdict, args.out / "verdict.json")
    except (CompareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report.show(comparison.verdict, Console(width=None if sys.stdout.isatty() else WIDTH))
    plots = {}
    try:
        from ppo.compare.plots import draw

        plots = draw(comparison, args.out)
    except ImportError:
        print("no plots: matplotlib is missing (pip install 'proximal[plots]')", file=sys.stderr)
    title = f"Comparison: {', '.join(comparison.envs)}"
    (args.out / "report.html").write_text(report.page(comparison.verdict, plots, title=title), encoding="utf-8")
    print(f"{args.out / 'verdict.json'}\n{args.out / 'report.html'}")
    return 0


def _words(texts: list[str]) -> list[str]:
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]
