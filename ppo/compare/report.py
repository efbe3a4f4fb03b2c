"""What a comparison leaves on the console and as verdict.json; report.html is written by ``page``."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ppo.compare.printed import print_line, print_table
from ppo.compare.sentence import decisive, number
from ppo.logging.files import write_atomically
from ppo.page.html import jsonable

ARM_COLUMNS = ("env", "arm", "endpoint", "n", "failed", "mean", "std", "se", "median", "iqm", "iqm_ci", "min", "max")
PAIR_COLUMNS = ("env", "endpoint", "a", "b", "difference", "interval", "p_holm", "g", "P(A > B)", "mde_80", "verdict")
STABILITY_COLUMNS = (
    "env",
    "arm",
    "updates",
    "kl_spikes",
    "early_stops",
    "nonfinite",
    "loss_policy_variance",
    "loss_value_variance",
    "wall_clock",
    "rollback",
)


def write_json(verdict: dict, path: Path) -> None:
    """Write the verdict whole or not at all: another program may be waiting for it."""
    text = json.dumps(jsonable(verdict), indent=2, allow_nan=False, ensure_ascii=False)
    # A file name may hold bytes that are no letters; written as JSON's own escapes they survive.
    write_atomically(path, text.encode("utf-8", "backslashreplace") + b"\n")


def arm_cells(row: dict) -> list[str]:
    """A row of the table of arms."""
    names, counts = [row[k] for k in ARM_COLUMNS[:3]], [str(row[k]) for k in ARM_COLUMNS[3:5]]
    return names + counts + [_cell(row[k]) for k in ARM_COLUMNS[5:]]


def pair_cells(row: dict) -> list[str]:
    """A row of the table of pairs: interval and p of the test that decides."""
    test = decisive(row)
    measures = (row["difference"], test["ci"], test["p_holm"], row["hedges_g"], row["superiority"]["p"], row["mde_80"])
    return [row[k] for k in PAIR_COLUMNS[:4]] + [_cell(value) for value in measures] + [row["verdict"]]


def stability_cells(row: dict) -> list[str]:
    """A row of the table of stability."""
    reasons = "–" if row["rollback"] is None else "; ".join(row["rollback"]) or "no reason"
    measures = [_cell(row[k]) for k in STABILITY_COLUMNS[3:-1]]
    return [row["env"], row["arm"], str(row["updates"]), *measures, reasons]


def _cell(value: float | tuple[float, float]) -> str:
    if isinstance(value, tuple):
        return f"{_cell(value[0])} to {_cell(value[1])}" if math.isfinite(value[0]) else "–"
    return "–" if math.isnan(value) else number(value)


def show(verdict: dict, console: Console) -> None:
    """Print the tables, the sentences, and what to watch out for."""
    _section(console, "Arms", ARM_COLUMNS, [arm_cells(row) for row in verdict["arms"]])
    if verdict["pairs"]:
        pairs = [pair_cells(row) for row in verdict["pairs"]]
        _section(console, f"Pairs: a minus b, {tested_by(verdict)}", PAIR_COLUMNS, pairs)
    if any(row["updates"] for row in verdict["stability"]):
        _section(console, "Stability", STABILITY_COLUMNS, [stability_cells(row) for row in verdict["stability"]])
    for line in sentences(verdict):
        print_line(console, f"• {line}")
    if lines := descriptive(verdict):
        print_line(
            console, f"beside the primary endpoint, {decided_at(verdict)}; descriptive, since several were looked at:"
        )
        for line in lines:
            print_line(console, f"  • {line}")
    for line in rollbacks(verdict):
        print_line(console, f"! {line}")
    for row in verdict["failures"]:
        where = f"{row['env']}, {row['arm']}, seed {row['seed']}"
        print_line(console, f"failed: {where}: {row['reason']} ({row['source']})")
    for note in verdict["notes"]:
        print_line(console, f"note: {note}")
    for line in commands(verdict):
        print_line(console, f"more seeds: {line}")


def tested_by(verdict: dict) -> str:
    """The tests that decide, in a few words."""
    return f"{'always valid' if verdict['sequential'] else 'Welch, ranks where a run failed'}, Holm"


def sentences(verdict: dict) -> list[str]:
    """What is decided: the sentences of all pairs at the primary endpoint, and of arms that are the same run; each once."""
    return list(dict.fromkeys(row["sentence"] for row in primary_pairs(verdict)))


def primary_pairs(verdict: dict) -> list[dict]:
    """The pairs behind these sentences."""
    return [row for row in verdict["pairs"] if _decides(row)]


def descriptive(verdict: dict) -> list[str]:
    """The sentences at the other endpoints. Holm corrects over pairs and environments, not over these."""
    return list(dict.fromkeys(row["sentence"] for row in verdict["pairs"] if not _decides(row)))


def decided_at(verdict: dict) -> str:
    """The endpoint that decides; where environments differ in what was logged, all that do."""
    return (
        " or ".join(dict.fromkeys(row["endpoint"] for row in verdict["pairs"] if row["primary"])) or verdict["primary"]
    )


def _decides(row: dict) -> bool:
    return row["primary"] or row["same_run"]


def rollbacks(verdict: dict) -> list[str]:
    """A line for each arm that should be taken back."""
    flagged = [row for row in verdict["stability"] if row["rollback"]]
    return [
        f"{row['env']}: take {row['arm']} back: {'; '.join(row['rollback'])} (against {row['against']})"
        for row in flagged
    ]


def commands(verdict: dict) -> list[str]:
    """The commands that add seeds, of the endpoints that decide."""
    return list(dict.fromkeys(line for row in verdict["pairs"] if row["primary"] for line in row["more_seeds"]))


def _section(console: Console, title: str, columns: Sequence[str], cells: list[list[str]]) -> None:
    if len({row[0] for row in cells}) == 1:  # one environment: in the title, not in every row
        title, columns, cells = f"{title} ({cells[0][0]})", columns[1:], [row[1:] for row in cells]
    print_table(console, columns, cells, title=title)
    console.print()
