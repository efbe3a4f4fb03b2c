"""Write the table of ``docs/words.md`` from conf/: ``python scripts/groups_table.py``.

A group's line is the comment beside its default in ``conf/config.yaml``, an option's the first sentence of comment in
its yaml: when to use it.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "words.md"
BEGIN, END = "<!-- words: python scripts/groups_table.py -->\n", "<!-- end of words -->"
RECIPES = {
    "method": "whole ways to constrain the policy, set as their papers have them",
    "experiment": "whole recipes",
    "sweep": "the arms and seeds of a comparison",
}


def first_comment(text: str) -> str:
    """The first line of comment that is not Hydra's. ValueError where there is none before the first key."""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            return line[1:].strip().replace("|", "\\|")  # |ratio| is not a column
    raise ValueError("a yaml of conf/ begins with a line of comment: when to use it")


def table(conf: Path) -> str:
    """The table as markdown: groups in the order of config.yaml, in each the default first."""
    defaults = re.findall(r"^  - (\w+): (\w+) # (.+)$", (conf / "config.yaml").read_text(), re.M)
    lines = ["| word | |", "|---|---|"]
    for group, default, about in [*defaults, *((name, "", about) for name, about in RECIPES.items())]:
        sign = "" if default else "+"
        lines.append(f"| **{group}** | **{about}** |")
        options = {str(p.relative_to(conf / group).with_suffix("")): p for p in (conf / group).rglob("*.yaml")}
        for name in sorted(options, key=lambda name: (name != default, name)):
            lines.append(f"| `{sign}{group}={name}` | {first_comment(options[name].read_text())} |")
    return "\n".join(lines) + "\n"


def document(page: str, conf: Path) -> str:
    """The page with the table as it should be between its two marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table(conf) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8"), ROOT / "conf"), encoding="utf-8")
    print(f"wrote the table of words in {PAGE}")
