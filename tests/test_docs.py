"""What the documentation names is there: files, headings, words of commands, the version."""

import re
import shlex
import tomllib
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

import ppo
from ppo.cli import check_plugins
from ppo.config.options import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
TRAIN = re.compile(r"^(?:\S*python -m ppo\.train|torchrun .*-m ppo\.train|ppo-train)((?: .*)?)$", re.M)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub's links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def missing(page: Path) -> list[str]:
    """The links of a page that lead nowhere, but for those into the web."""
    found = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            found.append(link)
    return found


def commands(page: Path) -> list[list[str]]:
    """The words of every training command in a page's blocks of code, of several values the first."""
    blocks = re.findall(r"^```\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in TRAIN.findall(block.replace("\\\n", " "))]
    return [
        [
            _first(word)
            for word in shlex.split(line, comments=True)
            if "=" in word and not word.startswith("sequential=")
        ]
        for line in lines
    ]


def _first(word: str) -> str:
    """``kl=exact,k1`` -> ``kl=exact``; a list in brackets is one value."""
    key, _, value = word.partition("=")
    value = re.sub(r"^range\((\d+),.*\)$", r"\1", value)
    return f"{key}={value if value.startswith('[') else value.split(',')[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert missing(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A title, here\n[a](page.md) [b](#a-title-here) [c](gone.md) [d](page.md#gone) [e](https://x.org/y)"
    )
    assert missing(page) == ["gone.md", "page.md#gone"]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_the_words_of_every_training_command_exist(page, shipped):
    for words in commands(page):
        try:
            check_plugins(words)
        except ConfigError:  # Ray's, for one, is never installed beside the others
            continue
        shipped(*words)


class Near(gymnasium.Env):
    """An environment of one's own, for the page's examples: keep a number near 0."""

    observation_space, action_space = Box(-9, 9, (1,)), Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.t, self.x = self.t + 1, self.x + 0.1 * float(action[0])
        return np.array([self.x], np.float32), -abs(self.x), False, self.t == 100, {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_stands_beside_the_quickstart_of_sb3_runs(tmp_path, monkeypatch):
    """The lines of the table, one after the other, as they stand there."""
    page = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
    rows = page.split("<!-- ten:")[1].split("<!-- end of ten -->")[0].splitlines()[3:]
    lines = [re.findall(r"`([^`]+)`", row.split("|")[4]) for row in rows if row.startswith("|")]
    assert len(lines) == 10
    monkeypatch.chdir(tmp_path)
    known = {"ppo": ppo, "MyEnv": Near, "obs": [1.0, 0.0, 0.0]}
    for (line,) in filter(None, lines):
        exec(line, known)
    assert known["action"].shape == (1,) and len(known["returns"]) == 20 and (tmp_path / "run.gif").exists()
    assert known["run"].metrics["env_steps"][-1] >= 20_000


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\n" in cited and f"\ntitle: {project['name']}\n" in cited
    assert f"\nlicense: {project['license']}\n" in cited
