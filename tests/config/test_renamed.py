"""Keys that have another name now: what was written with the old one is read as it was meant."""

import pytest

from ppo.api.fit import _words
from ppo.config.foreign import current
from ppo.config.options import plain
from ppo.config.renamed import words_of_today
from ppo.config.schema import GROUPS
from ppo.run.folder import check_same


@pytest.mark.parametrize(
    ("typed", "now"),
    [
        ("reference.direction=forward", "reference.kl=reverse"),
        ("reference.direction=reverse", "reference.kl=exact"),
        ("++reference.direction=reverse,forward", "++reference.kl=exact,reverse"),
        ("reference.direction=choice(forward,reverse)", "reference.kl=choice(reverse,exact)"),
        ("reference.direction=both", "reference.kl=both"),  # then refused, by the name that it has now
    ],
)
def test_an_old_word_is_read_and_said(capsys, typed, now):
    assert words_of_today(["kl=exact", typed]) == ["kl=exact", now]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"{typed} is called {now} now")


def test_todays_words_are_left_alone(capsys):
    words = ["reference.kl=reverse", "kl=reverse", "--multirun", "env.direction=forward", "~reference.direction"]
    assert words_of_today(words) == words and capsys.readouterr().err == ""


def test_from_python_it_is_read_too(capsys):
    assert _words(["reference=initial"], {"reference__direction": "reverse"}, None) == (
        "reference=initial",
        "reference.kl='exact'",  # a text from Python is quoted
    )
    assert "is called" in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new"), [("forward", "reverse"), ("reverse", "exact")])
def test_a_run_of_before_is_the_run_that_todays_word_makes(config, tmp_path, old, new):
    now = plain(config("reference=initial", f"reference.kl={new}"))
    before = now | {"reference": {k: v for k, v in now["reference"].items() if k != "kl"} | {"direction": old}}
    assert current(before) == now == current(now)
    check_same(tmp_path, before, now)
    assert "reference" in GROUPS and now["reference"]["kl"] == new
