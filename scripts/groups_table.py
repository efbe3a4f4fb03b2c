"""Write the table of ``docs/words.md`` from conf/: ``python scripts/groups_table.py``. See ``ppo.config.groups``."""

from pathlib import Path

from ppo.config.groups import groups

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "words.md"
BEGIN, END = "<!-- words: python scripts/groups_table.py -->\n", "<!-- end of words -->"


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
    lines = ["| word | |", "|---|---|"]
    for group in groups(conf):
        lines.append(f"| **{group.name}** | **{group.about}** |")
        for name, path in group.options.items():
            about = first_comment(path.read_text(encoding="utf-8"))
            lines.append(f"| `{group.sign}{group.name}={name}` | {about} |")
    return "\n".join(lines) + "\n"


def document(page: str, conf: Path) -> str:
    """The page with the table as it should be between its two marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table(conf) + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text(encoding="utf-8"), ROOT / "conf"), encoding="utf-8")
    print(f"wrote the table of words in {PAGE}")
