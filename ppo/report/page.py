"""The page of one run: what the doctor says, curves, videos, configuration, where it comes from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppo.config.options import dotted
from ppo.doctor.diagnose import diagnose
from ppo.doctor.finding import Finding
from ppo.doctor.history import DoctorError, History, load
from ppo.doctor.text import NOTHING, judgement, summary
from ppo.page.chart import Choice, encoded
from ppo.page.html import CHARTS, bullets, command, header, page, section, table, text
from ppo.report.charts import charts, named
from ppo.report.films import films
from ppo.run.folder import endpoint, run_folders, run_json


def of(run: Path) -> str:
    """The page of a run folder (or its metrics.jsonl). Raises DoctorError on what is no run, or several."""
    folder = run.parent if run.name == "metrics.jsonl" else run
    if not (folder / "metrics.jsonl").is_file() and (inside := run_folders(folder)):
        raise DoctorError(
            f"{run}: {len(inside)} runs below it; give one of them, or compare them: python -m ppo.compare {run}"
        )
    history, about = load(run), run_json(folder)
    data = encoded(charts(history), choices=[Choice("metric", "metric", named(history))])
    title = f"{about.get('name') or folder.resolve().name}"
    return page(title, _parts(folder, title, history, about), data)


def _parts(folder: Path, title: str, history: History, about: Mapping[str, Any]) -> Iterator[str]:
    findings = diagnose(history)
    yield header(title, _state(folder, history, about))
    yield _judged(history, findings)
    yield section("How it went", bullets([line.plain.strip() for line in summary(history)]), folded=bool(findings))
    yield CHARTS
    yield section("Videos", films(folder))
    yield section("Configuration", table(("key", "value"), _settings(history.config)), folded=True)
    yield section(
        "Where it comes from", _command(about), table(("what", "value"), _origin(folder, about, len(history.resumed)))
    )
    versions = about.get("versions")
    packages = sorted(versions.items()) if isinstance(versions, dict) else []
    yield section("Packages", table(("package", "version"), [[str(a), str(b)] for a, b in packages]), folded=True)


def _state(folder: Path, history: History, about: Mapping[str, Any]) -> str:
    """How far it came and what it is worth, in a line."""
    last = history.rows[-1]
    parts = [
        str(about.get("status") or "status unknown"),
        f"{len(history)} updates",
        f"{last.get('env_steps', 0):,} steps",
    ]
    if "time/wall" in last:
        parts.append(f"{last['time/wall'] / 60:,.1f} minutes")
    if any("eval/return" in row for row in history.rows):
        parts.append(f"evaluation at the end {endpoint(folder):,.1f}")
    reason = f"; {about['reason']}" if about.get("reason") else ""
    return f"{', '.join(parts)}{reason}"


def _judged(history: History, findings: list[Finding]) -> str:
    """The doctor's sentence, and a card a finding."""
    verdict = judgement(history, findings)
    kind = "open" if "yellow" in str(verdict.style) else "bad" if findings else "good"
    cards = [f'<li class="{kind}"><b>{text(verdict.plain)}</b></li>']
    for finding in findings:
        cures = "".join(map(command, finding.tries)) or f"<p>{text(NOTHING)}</p>"
        seen = f"{finding.seen[0].upper()}{finding.seen[1:]}."
        cards.append(
            f'<li class="{"bad" if finding.restart else "open"}"><b>{text(seen)}</b>'
            f"<p>{text(finding.where)}: {text(finding.why)}</p>{cures}</li>"
        )
    return f'<ul class="verdict judged">{"".join(cards)}</ul>'


def _settings(config: dict[str, Any]) -> list[list[str]]:
    """Key and value, options by their names: ``kl`` exact. What an interpolation stands for is not looked up: a secret."""
    rows = []
    for key, value in dotted(config):
        if key.endswith("._target_"):
            rows.append([key.removesuffix("._target_"), str(value).rsplit(".", 1)[-1]])
        else:
            rows.append([key, value if isinstance(value, str) else json.dumps(value)])
    return rows


def _command(about: Mapping[str, Any]) -> str:
    return command(str(about["command"])) if about.get("command") else ""


def _origin(folder: Path, about: Mapping[str, Any], resumed: int) -> list[list[str]]:
    """Code, machine and folder, as the run wrote them down."""
    git: Any = about.get("git")
    git = git if isinstance(git, dict) else {}
    dirty = {True: ", with uncommitted changes", False: ""}.get(git.get("dirty"), "")
    facts = {
        "commit": f"{git['commit']}{dirty}" if git.get("commit") else None,
        "python": about.get("python"),
        "platform": about.get("platform"),
        "cores": about.get("cpu_count"),
        "processes": about.get("ranks"),
        "resumed": resumed or None,
        "folder": folder.resolve(),
    }
    return [[name, str(value)] for name, value in facts.items() if value is not None]
