"""report.html: the whole of a comparison on one page."""

from collections.abc import Callable, Iterator, Sequence

from ppo.compare import report
from ppo.compare.charts import arms, charts, choices
from ppo.compare.compare import Comparison
from ppo.compare.sentence import HIGHER, LOWER, UNDECIDED
from ppo.page.chart import encoded
from ppo.page.html import CHARTS, bullets, command, header, page, section, table, text

WORDS = {HIGHER: "decided", LOWER: "decided", UNDECIDED: "undecided"}  # of the other verdicts, themselves


def of(comparison: Comparison) -> str:
    """The page: the verdict first, then what is interactive, then every number."""
    return page(title(comparison), _parts(comparison), _data(comparison))


def curves_of(comparison: Comparison) -> str:
    """The interactive part alone, for a notebook that has said the sentences."""
    return page(title(comparison), [CHARTS], _data(comparison))


def title(comparison: Comparison) -> str:
    """What is compared, in a line; of many environments their number."""
    envs = [*comparison.envs]
    return f"Comparison: {', '.join(envs) if len(envs) <= 4 else f'{len(envs)} environments'}"


def _data(comparison: Comparison) -> dict:
    return encoded(charts(comparison), arms=arms(comparison), choices=choices(comparison))


def _parts(comparison: Comparison) -> Iterator[str]:
    verdict = comparison.verdict
    runs = [
        (env, label, t) for env, found in comparison.envs.items() for label, trials in found.items() for t in trials
    ]
    labels = arms(comparison)
    about = f"{len(runs)} runs, {len(labels)} arm{'s' * (len(labels) != 1)}"
    if verdict["pairs"]:
        about += (
            f"; decided at {report.decided_at(verdict)} ({report.tested_by(verdict)}, alpha = {verdict['alpha']:g})"
        )
    yield header(title(comparison), f"{about}.")
    yield _verdicts(comparison)
    yield section("Take back", bullets(report.rollbacks(verdict), kind="bad"))
    yield section(
        f"Beside {report.decided_at(verdict)}: descriptive, since several were looked at",
        bullets(report.descriptive(verdict)),
        folded=True,
    )
    yield CHARTS
    yield section("Pairs", _table(report.PAIR_COLUMNS, verdict["pairs"], report.pair_cells))
    yield section("Arms", _table(report.ARM_COLUMNS, verdict["arms"], report.arm_cells))
    if any(row["updates"] for row in verdict["stability"]):
        yield section("Stability", _table(report.STABILITY_COLUMNS, verdict["stability"], report.stability_cells))
    yield section("More seeds", *map(command, report.commands(verdict)))
    failures = verdict["failures"]
    yield section("Failed runs", _table(FAILED, failures, lambda row: [str(row[name]) for name in FAILED]))
    yield section("Notes", bullets(verdict["notes"]))
    listed = [
        [env, label, str(t.seed), t.code.get("git.commit") or "–", t.command or "–", str(t.source)]
        for env, label, t in runs
    ]
    yield section("Runs", table(RUNS, listed, [{"env": [row[0]]} for row in listed]), folded=True)


FAILED = ("env", "arm", "seed", "reason", "source")
RUNS = ("env", "arm", "seed", "commit", "command", "source")


def _verdicts(comparison: Comparison) -> str:
    """A card a sentence, its word above it; what is decided comes first."""
    rows = sorted(report.primary_pairs(comparison.verdict), key=lambda row: row["verdict"] not in (HIGHER, LOWER))
    cards = [
        f'<li class="{"decided" if row["verdict"] in (HIGHER, LOWER) else "open"}">'
        f"<b>{text(WORDS.get(row['verdict'], row['verdict']))}</b><p>{text(row['sentence'])}</p></li>"
        for row in rows
    ]
    if not cards:
        several = len({row["arm"] for row in comparison.verdict["arms"]}) > 1
        return f"<p>{'No two of these arms are to be compared.' if several else 'One arm: nothing to compare it with.'}</p>"
    return f'<ul class="verdict">{"".join(dict.fromkeys(cards))}</ul>'


def _table(columns: Sequence[str], rows: Sequence[dict], cells: Callable[[dict], list[str]]) -> str:
    """A table of which each row is shown with its environment and endpoint; of one environment without its name."""
    whens = [{key: [row[key]] for key in ("env", "endpoint") if key in row} for row in rows]
    first = int(len({row["env"] for row in rows}) == 1)
    return table(columns[first:], [cells(row)[first:] for row in rows], whens)
