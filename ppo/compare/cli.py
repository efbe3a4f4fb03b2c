"""The command line of a comparison: ``python -m ppo.compare outputs/ab --by kl --baseline kl=exact``."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from ppo.compare import distance, page, report
from ppo.compare.arms import split
from ppo.compare.load import load
from ppo.compare.printed import console, stream_that_fits
from ppo.compare.trial import CompareError
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
    p.add_argument("--x", metavar="METRIC", help="return over this metric, such as kl/final: a table, CSV and curves")
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
    try:
        comparison = distance.compared(
            load(args.paths),
            x=args.x,
            by=split(args.by),
            within=split(args.within),
            baseline=args.baseline,
            window=args.window,
            allow=split(args.allow),
            alpha=args.alpha,
            sequential=args.sequential,
        )
        _folder(args.out)
        report.write_json(comparison.verdict, args.out / "verdict.json")
        if args.x:
            distance.write_csv(comparison.verdict["distance"]["rows"], args.x, args.out / "distance.csv")
    except (CompareError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _to_reader(lambda: report.show(comparison.verdict, console()))
    if args.x:
        _to_reader(lambda: distance.show(comparison.verdict["distance"]["rows"], args.x, console()))
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


def _folder(out: Path) -> None:
    """Make the folder. Raises CompareError where a file is in its place."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CompareError(f"--out {out}: is a file, or in one; a folder was expected") from None


def _to_reader(write: Callable[[], None]) -> None:
    """``write`` to standard output; nothing more goes there once its reader is gone (``| head``) or its disk is full."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"cannot print: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
