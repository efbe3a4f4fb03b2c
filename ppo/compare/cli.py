"""The command line of a comparison: ``python scripts/compare_runs.py outputs/ab --by kl --baseline kl=exact``."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from ppo.compare import distance, distance_plot, page, report
from ppo.compare.compare import compare
from ppo.compare.load import load
from ppo.compare.printed import console, stream_that_fits
from ppo.compare.trial import CompareError
from ppo.config.extras import needs
from ppo.logging.base import first_line
from ppo.page.html import write


def parser() -> argparse.ArgumentParser:
    """The options, each with its meaning."""
    p = argparse.ArgumentParser(
        prog="python -m ppo.compare", description="From runs to a verdict; see docs/comparing.md."
    )
    p.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="run folders, at any depth, or CSV files or folders of them"
    )
    p.add_argument("--by", default="", help="what was changed: groups or dotted keys, such as kl,norm,lr.value")
    p.add_argument("--baseline", help="the arm to compare with (norm=none); without it every two arms are compared")
    p.add_argument("--within", default="", help="compare only arms that have the same value of these factors of --by")
    p.add_argument("--x", metavar="METRIC", help="return over this metric, such as kl/final: a table, CSV and picture")
    p.add_argument("--window", type=int, metavar="K", help="final endpoint: mean of the last K evaluations [a tenth]")
    p.add_argument("--allow", action="append", default=[], metavar="KEY", help="keys that may differ; may be repeated")
    p.add_argument("--sequential", action="store_true", help="decide by a test that may be looked at after every seed")
    p.add_argument("--alpha", type=float, default=0.05, help="probability of a false alarm [0.05]")
    p.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/comparison"),
        help="folder of verdict.json and report.html [%(default)s]",
    )
    p.add_argument("--open", action="store_true", help="show report.html in the browser")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Compare and write; the exit code. What a person can mend comes as one line and exit code 2.

    First the numbers: a reader who closes the pipe loses no file.
    """
    args = parser().parse_args(arguments)
    stream_that_fits(sys.stdout)
    stream_that_fits(sys.stderr)
    by, within = _words([args.by]), _words([args.within])
    if args.x and not within:
        within = [factor for factor in by if factor in distance.DISTANCES]
    try:
        comparison = compare(
            load(args.paths),
            by=by,
            within=within,
            baseline=args.baseline,
            window=args.window,
            allow=_words(args.allow),
            alpha=args.alpha,
            sequential=args.sequential,
        )
        if args.x:
            comparison.verdict["distance"] = {"x": args.x, "rows": distance.distances(comparison, args.x)}
        args.out.mkdir(parents=True, exist_ok=True)
        report.write_json(comparison.verdict, args.out / "verdict.json")
    except (CompareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _to_reader(lambda: report.show(comparison.verdict, console()))
    if args.x:
        _over_distance(comparison.verdict["distance"], args.out)
    file = args.out / "report.html"
    try:
        write(file, page.of(comparison))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _to_reader(lambda: print(f"{args.out / 'verdict.json'}\n{file}"))
    if args.open:
        webbrowser.open(file.absolute().as_uri())
    return 0


def _over_distance(found: dict, out: Path) -> None:
    """Return over distance, printed and as distance.csv and distance.png."""
    rows, x = found["rows"], found["x"]
    _to_reader(lambda: distance.show(rows, x, console()))
    try:
        distance.write_csv(rows, x, out / "distance.csv")
        distance_plot.draw(rows, x, out / "distance.png")
    except ImportError:
        print(f"no picture distance.png: {needs('a picture', 'plots')}", file=sys.stderr)
    except Exception as error:  # whatever a drawing library raises: the numbers are there
        print(f"no picture distance.png: {first_line(error)}", file=sys.stderr)


def _to_reader(write: Callable[[], None]) -> None:
    """``write`` to standard output; nothing more goes there once its reader is gone (``| head``) or its disk is full."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"cannot print: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _words(texts: list[str]) -> list[str]:
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]
