"""``--help``: every word there is, in a page that fits."""

import sys

import pytest

from ppo import cli
from ppo.config.groups import groups, page, scalars
from ppo.config.options import yamls
from ppo.config.schema import CONF, GROUPS
from ppo.config.schema import scalars as known


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_help_is_one_page_that_fits(word, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ppo-train", "kl=k3", word])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 80


def test_it_has_every_group_option_and_number():
    found = {group.name: group for group in groups(CONF)}
    assert {name for name, group in found.items() if group.default} == set(GROUPS)
    for name in GROUPS:
        assert set(found[name].options) == set(yamls(name)) and next(iter(found[name].options)) == found[name].default
    assert sorted(key for _, keys in scalars(CONF) for key in keys) == sorted(known())
    words = page(CONF).replace(": ", " ").split()
    assert {*known(), "+sweep=", "ant_quick", "benchmark/bullet"} <= set(words)


def test_a_new_option_is_there_without_being_listed(tmp_path):
    (tmp_path / "kl").mkdir()
    for name in ("exact", "mine"):
        (tmp_path / "kl" / f"{name}.yaml").write_text("# Mine.\n_target_: x\n")
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  - kl: mine # the divergence\n\n# Size of it\nsteps: 1 # n\n\nhydra: {}\n"
    )
    assert "  kl=             mine exact: the divergence\n" in page(tmp_path)
    assert "  Size of it      steps\n" in page(tmp_path)
