"""What to type where an extra is not installed."""

import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

DISTRIBUTION = "exactkl"
CHECKOUT = Path(__file__).parents[2]
APART = {"ray": "constraints-ray.txt"}  # in an environment of its own, with these versions


def needs(what: str, extra: str) -> str:
    """ "WHAT needs an extra: " and the command that installs it here.

    In the environment that make keeps in a checkout that is ``make extras``; in another one, pip with the checkout's path.
    An installed wheel names what the extra consists of, so that nobody depends on what an index has under our name.
    """
    return f"{what} needs an extra: {install(extra)}"


def install(extra: str) -> str:
    """The command alone."""
    if (CHECKOUT / "pyproject.toml").is_file():
        if extra in APART:
            return f"in an environment of its own, pip install -c {CHECKOUT / APART[extra]} -e '{CHECKOUT}[{extra}]'"
        if Path(sys.prefix).resolve() == (CHECKOUT / ".venv").resolve():
            return f"make -C {CHECKOUT} extras"
        return f"pip install -e '{CHECKOUT}[{extra}]'"
    try:
        parts = [part.split(";")[0].strip() for part in requires(DISTRIBUTION) or () if f'extra == "{extra}"' in part]
    except PackageNotFoundError:
        parts = []
    return " ".join(["pip install", *(f"'{part}'" for part in parts)]) if parts else f"see [{extra}] in pyproject.toml"
