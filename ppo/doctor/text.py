"""The diagnosis in words, for a person."""

import math

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from ppo.doctor.finding import Finding, percent
from ppo.doctor.history import History, middle, tail
from ppo.doctor.pattern import pattern
from ppo.doctor.what_if import Answer, Limit, answers, exact
from ppo.logging.band import BANDS, band_at, phase

ENOUGH = 10  # updates that every check is content with
NOTHING = "nothing: no word is known to cure this"
_NUMBERS = ("no", "one", "two", "three", "four", "five")


def show(history: History, findings: list[Finding], ended: str | None, title: str, console: Console) -> None:
    """Print what the run looks like and what should be changed."""
    last = history.rows[-1]
    about = f"{len(history)} updates, {last.get('env_steps', 0):,} steps"
    console.print(
        Text.assemble((title, "bold"), f"\n{about}{f'; it failed: {ended}' if ended else ''}"), soft_wrap=True
    )
    console.print()
    for line in summary(history):
        console.print(Padding(line, (0, 0, 0, 2)))
    console.print()
    console.print(judgement(history, findings))
    for number, finding in enumerate(findings, start=1):
        console.print(Text(f"\n{number}. {finding.seen[0].upper()}{finding.seen[1:]}.", style="bold"))
        table = Table.grid(padding=(0, 2))
        table.add_row("   where", finding.where)
        table.add_row("   why", Text(finding.why))
        table.add_row("   type", Text(finding.tries[0], style="bold cyan") if finding.tries else Text(NOTHING))
        for other in finding.tries[1:]:
            table.add_row("   or", Text(other, style="cyan"))
        console.print(table)


def judgement(history: History, findings: list[Finding]) -> Text:
    """What the findings come to, in a sentence."""
    if not findings and len(history) < ENOUGH:
        many = f"{len(history)} update{'s' * (len(history) > 1)}"
        verdict = (
            f"Too early to judge: most checks need 5 to {ENOUGH} updates, and there are {many}. Nothing is extreme."
        )
        return Text(verdict, style="bold yellow")
    if not findings:
        return Text("Nothing to change: no finding.", style="bold green")
    count = _NUMBERS[len(findings)] if len(findings) < len(_NUMBERS) else str(len(findings))
    what = f"{count} finding{'s' if len(findings) > 1 else ''}"
    again = any(finding.restart for finding in findings)
    advice = (
        "start again with the change, going on is not worth it" if again else "change it and resume, or start again"
    )
    return Text(f"{what.capitalize()}; {advice}.", style="bold red" if again else "bold yellow")


def summary(history: History) -> list[Text]:
    """What the run looks like: its KL, what it learned, how its updates ended."""
    return [*_kl(history), *_learning(history)]


def _kl(history: History) -> list[Text]:
    """Level, bands by phase, and pattern of the KL."""
    kl = history.kl
    known = not np.isnan(kl).all()
    said = f"median {middle(kl):.3g}, largest {np.nanmax(kl):.3g}" if known else "unknown"
    level = f"KL(old‖new) after an update: {said}"
    if history.option("target_kl"):
        level += f"; target_kl={history.option('target_kl'):g}"
    lines = [Text(level)]
    steps = history["env_steps"]
    progress = np.clip(steps / history.option("total_steps", steps[-1] or 1), 0, 1)
    for name in ("early", "learning", "fine-tuning"):
        inside = [band_at(x, p).name for x, p in zip(kl, progress, strict=True) if phase(p) == name]
        if inside:
            line = Text(f"{name:>11}: ")
            for i, found in enumerate(b for b in BANDS if b.name in inside):
                line.append(", " if i else "").append(
                    f"{percent(inside.count(found.name) / len(inside))} {found.name}", found.colour
                )
            lines.append(line)
    shape = pattern(kl)
    text = f"pattern: {shape.name}"
    if shape.spikes:
        text += f" ({len(shape.spikes)} of {len(kl)} updates, the last is {history.where(shape.spikes[-1])})"
        if shape.name == "spiking" and history.rise > 0.3:
            text += ", while the return rises: nothing to do"
    return [*lines, Text(text)]


def _learning(history: History) -> list[Text]:
    """Return, critic, sigma and how updates ended, a line each."""
    lines, values = [], history.returns
    if len(values) and np.isfinite(values).all():
        best = int(np.argmax(values))
        lines.append(
            f"return {values[0]:,.4g} -> {values[-1]:,.4g}, best {values[best]:,.4g} at update {history.where(best)}"
        )
    knows, loss = (middle(tail(history[name])) for name in ("value/explained_variance", "loss/value"))
    told = "unknown: targets did not vary" if math.isnan(knows) else f"{knows:.2g} in the last third"
    lines.append(f"explained variance {told}, value loss {loss:.3g}")
    sigma = history["policy/sigma"]
    if np.isfinite(sigma[[0, -1]]).all():
        lines.append(f"sigma {sigma[0]:.3g} -> {sigma[-1]:.3g}")
    if history.stopped.any():
        lines.append(
            f"{percent(history.stopped.mean())} of updates were stopped; {percent(middle(history.done))} of the planned "
            "gradient steps done (median)"
        )
    return [Text(line) for line in lines]


def show_what_if(history: History, limits: list[Limit], console: Console) -> None:
    """A row for each limit: what it would have done to the first update, and how often and how early to the others."""
    wide, names = (Column(name, no_wrap=True) for name in ("rule", "limit", "first update")), ("KL", "steps")
    table = Table(*wide, *names, "of all: stopped", "steps", "not known", box=None, padding=(0, 2, 0, 0))
    estimated = False
    for limit in limits:
        found = answers(history, limit)
        known = [(a, row) for a, row in zip(found, history.rows, strict=True) if a.stopped is not None]
        stand_in = not exact(history, limit)
        estimated |= stand_in
        table.add_row(
            f"{'~' if stand_in else ''}stop={limit.stop} kl={limit.kl} target_kl={limit.target_kl:g}",
            f"{limit.value:.4g}",
            *_first(found[0]),
            f"{sum(bool(answer.stopped) for answer, _ in known)} of {len(known)}",
            percent(float(np.median([a.steps / row["update/planned"] for a, row in known]))) if known else "",
            str(len(found) - len(known)) if len(found) > len(known) else "",
        )
    console.print(table)
    notes = [
        "First update: what a new run would do. All: what the rule would have done to the same updates; median steps."
    ]
    if estimated:
        notes.append("~ from the first minibatch of the next epoch: the run did not measure its whole rollout.")
    if history.stopped.any():
        notes.append("Not known: the run's own rule ended the update before this limit could be asked.")
    for note in notes:
        console.print(Text(note, style="dim"))


def _first(answer: Answer) -> tuple[str, str, str]:
    """Where, at which KL, and after how many gradient steps."""
    if answer.stopped is None:
        return "not known", "", ""
    if not answer.stopped:
        return "not stopped", "", str(answer.steps)
    return f"epoch {answer.epoch}, minibatch {answer.minibatch}", f"{answer.value:.4g}", str(answer.steps)
