"""The table of words in docs/words.md says what conf/ says."""

import pytest

from ppo.config.options import GROUPS
from scripts.groups_table import PAGE, ROOT, document, first_comment, table


def test_the_table_is_generated():
    page = PAGE.read_text(encoding="utf-8")
    assert page == document(page, ROOT / "conf"), "run python scripts/groups_table.py"


def test_every_option_of_every_group_is_in_it_and_the_default_comes_first():
    text = table(ROOT / "conf")
    for group in GROUPS:
        options = [path.stem for path in (ROOT / "conf" / group).glob("*.yaml")]
        rows = [line for line in text.splitlines() if line.startswith(f"| `{group}=")]
        assert len(rows) == len(options) and all(f"`{group}={name}`" in text for name in options)
    assert text.index("`kl=exact`") < text.index("`kl=jeffreys`") and text.index("`clip=fixed`") < text.index(
        "`clip=none`"
    )


def test_a_yaml_without_its_line_is_refused():
    assert first_comment("# @package _global_\n# Ours.\n# More.\nx: 1") == "Ours."
    with pytest.raises(ValueError, match="comment"):
        first_comment("x: 1\n# too late")
