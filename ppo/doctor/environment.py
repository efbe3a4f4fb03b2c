"""An environment, examined before anything is trained in it: ``python -m ppo.doctor --env ant``.

Each check is one function ``(subject) -> Verdict``; its keyword-only arguments are its thresholds. A check that the
environment makes impossible, because it raises, is a fault. All actions are of the action space, and time is limited.
"""

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.base import EnvError
from ppo.doctor.episodes import autoreset, fuzz, speed, truncation
from ppo.doctor.numbers import actions, observations, rewards
from ppo.doctor.play import Make, Subject, Verdict
from ppo.doctor.remedy import useful
from ppo.doctor.repeat import seeds, state

CHECKS = (seeds, state, actions, observations, rewards, autoreset, truncation, fuzz, speed)


def examine(make: Make, config: dict[str, Any] = {}, *, seconds: float = 60.0) -> dict[str, Verdict]:
    """Every check, in about ``seconds``; what an environment raises is the verdict of the check that provoked it.

    ``make(num_envs)`` gives a fresh vector. ``config``: what it would be trained with, as plain containers. A check takes
    its share of the time and goes by what it has seen by then; one step takes as long as it takes.
    """
    end = time.monotonic() + seconds
    verdicts: dict[str, Verdict] = {}
    for number, check in enumerate(CHECKS):
        now = time.monotonic()
        if now > end:
            verdict = Verdict("note", f"not examined: the {seconds:g} s are spent; --seconds grants more")
        else:
            try:
                verdict = check(Subject(make, config, now + (end - now) / (len(CHECKS) - number)))
            except EnvError as error:
                verdict = Verdict("fault", str(error))
        earlier = next(
            (name for name, other in verdicts.items() if verdict.level == "fault" and other == verdict), None
        )
        verdict = verdict._replace(tries=useful(verdict.tries, config))
        verdicts[check.__name__] = Verdict("fault", f"as {earlier}") if earlier else verdict
    return verdicts


def show(name: str, verdicts: dict[str, Verdict], console: Console) -> int:
    """Print the verdicts; 1 where there is a fault, else 0."""
    styles = {"ok": "green", "note": "yellow", "fault": "bold red"}
    table = Table("check", "", "what was seen", title=Text(name), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for check, verdict in verdicts.items():
        what = Text(verdict.what)
        if verdict.tries:
            what.append(f"\ntype {verdict.tries}", style="bold cyan")
        table.add_row(check, Text(verdict.level, style=styles[verdict.level]), what)
    console.print(table)
    faults = sum(verdict.level == "fault" for verdict in verdicts.values())
    console.print(f"\n{faults or 'no'} fault{'' if faults == 1 else 's'}")
    return int(faults > 0)
