"""``python -m ppo.report RUN``: curves, the doctor's findings, videos, configuration and provenance of a run, on one page."""

import argparse
import sys
import webbrowser
from pathlib import Path

from ppo.config.errors import one_line
from ppo.config.options import ConfigError
from ppo.logging.base import lossy
from ppo.page.html import write
from ppo.report.page import of


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m ppo.report", description="A run on one page; see docs/comparing.md.")
    p.add_argument("run", type=Path, metavar="RUN", help="run folder")
    p.add_argument("--out", type=Path, metavar="FILE", help="the page [RUN/report.html]")
    p.add_argument("--open", action="store_true", help="show it in the browser")
    return p


def main(argv: list[str] | None = None) -> int:
    """Write the page; the exit code. What a person can mend comes as one line and exit code 2."""
    lossy(sys.stdout, sys.stderr)
    args = parser().parse_args(argv)
    try:
        content = of(args.run)
        folder = args.run.parent if args.run.is_file() else args.run
        file = args.out or folder / "report.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, content)
    except (ConfigError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    print(file)
    if args.open:
        webbrowser.open(file.absolute().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
