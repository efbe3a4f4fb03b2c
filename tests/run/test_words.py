"""A path is a path, whatever is in its name: Hydra reads back what was meant, and so does a shell."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ppo.config.options import ConfigError
from ppo.run.words import paths_quoted, quoted, unreadable, word

NAMES = [
    "plain/a-b_c.1",
    "kl=exact,seed=1",
    "a b",
    "größe",
    "it's",
    "back\\slash",
    "end\\",
    "[x]{y}",
    'a"b',
    "a'\\'b",
    "(c)",
]


def value(override: str) -> object:
    return OverridesParser.create().parse_overrides([override])[0].value()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_typed_is_what_is_read(name):
    assert value(f"init={quoted(name)}") == name
    assert value(*shlex.split(word("init", name))) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_there_needs_no_quotes(tmp_path, name):
    (folder := tmp_path / name).mkdir(parents=True)
    for key in ("init", "+resume", "reference.run", "hydra.run.dir"):
        assert value(*paths_quoted([f"{key}={folder}"])) == str(folder)


@pytest.mark.parametrize("key", ["resume", "init", "+reference.run", "hydra.run.dir", "hydra.sweep.dir"])
def test_a_path_that_is_empty_is_refused(key):
    """``resume=$RUN`` without a RUN would begin another run."""
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}=: names no path"):
        paths_quoted(["env=probe", f"{key}="])
    if key.startswith("hydra"):
        with pytest.raises(
            ConfigError, match=rf"^{re.escape(key)}='': names no path"
        ):  # it would be the current directory
            paths_quoted([f"{key}=''"])
    else:
        assert paths_quoted(["logger=", f"{key}=''"]) == ["logger=", f"{key}=''"]


def test_a_home_directory_is_one(monkeypatch, tmp_path):
    """Within a word no shell sees to it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in ("hydra.run.dir", "hydra.sweep.dir", "init", "+resume"):
        assert value(*paths_quoted([f"{key}=~/run"])) == f"{tmp_path}/run"
    assert value(*paths_quoted(["hydra.run.dir=~/a run"])) == f"{tmp_path}/a run"


def test_a_word_that_hydra_cannot_read_is_shown_as_it_can():
    said = str(unreadable(["-m", "kl=exact,k1", "env.id=Läufer v0 #1", "x"]))
    typed, _, shown = said.partition(": cannot be read; as one text it is ")
    assert typed == "env.id=Läufer v0 #1" and value(*shlex.split(shown)) == "Läufer v0 #1"
    assert '{name: "a b"}' in str(unreadable(["env.kwargs={mode: schnell über}"]))
    assert unreadable(["-m", "kl=exact,k1", "env.kwargs={a:[1,2]}", "--help"]) is None


def test_other_words_stay_as_they_are(tmp_path):
    words = [
        "init=a,b",
        "init='a,b'",
        "kl=exact,k1",
        "network.actor=[16]",
        "-m",
        f"env.id={tmp_path}/x=y",
        "resume=[a]",
    ]
    assert paths_quoted(words) == words
    assert value(*paths_quoted(["hydra.run.dir=out/${now:%H-%M},x"])) == "out/${now:%H-%M},x"
