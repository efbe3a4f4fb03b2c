"""The words of conf/, group by group, read from the files themselves: for ``--help`` and docs/words.md. Without Hydra.

A group's line is the comment beside its default in ``conf/config.yaml``, an option's the first line of comment in its
yaml: when to use it.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

RECIPES = {
    "method": "whole ways to constrain the policy, set as their papers have them",
    "experiment": "whole recipes",
    "sweep": "the arms and seeds of a comparison",
}
_WIDTH = 80
_HEAD = """\
python -m ppo.train WORD ...                                  (or: ppo-train)

Train a policy with PPO. A word is GROUP=OPTION, GROUP.KEY=VALUE or KEY=VALUE;
the first option of a group is its default. All of them: docs/words.md.
"""
_TAIL = """\
  WORDS --cfg job         what a run would have; nothing is trained
  -m seed=1,2 kl=k1,k3    every combination, a run each
  resume=RUN              continue a run; the same command continues a sweep
  -sc install=bash        tab completion: eval "$(ppo-train -sc install=bash)"
  --hydra-help            what Hydra itself takes
"""


class Group(NamedTuple):
    """One folder of conf/."""

    name: str
    default: str  # of a recipe, which is added by a ``+``: empty
    about: str
    options: dict[str, Path]  # the default first

    @property
    def sign(self) -> str:
        return "" if self.default else "+"


def groups(conf: Path) -> Iterator[Group]:
    """In the order of config.yaml, then the recipes."""
    defaults = re.findall(r"^  - (\w+): (\w+) # (.+)$", (conf / "config.yaml").read_text(encoding="utf-8"), re.M)
    for name, default, about in [*defaults, *((name, "", about) for name, about in RECIPES.items())]:
        paths = {str(p.relative_to(conf / name).with_suffix("")): p for p in (conf / name).rglob("*.yaml")}
        order = sorted(paths, key=lambda option: (option != default, option))
        yield Group(name, default, about, {option: paths[option] for option in order})


def scalars(conf: Path) -> Iterator[tuple[str, list[str]]]:
    """(heading, keys) of the blocks of config.yaml that follow the groups, as its comments name them."""
    text = (conf / "config.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0]
    for block in text.split("\n\n")[1:]:
        heading, keys = re.match(r"# (.+)", block), re.findall(r"^(\w+):", block, re.M)
        if heading and keys:
            yield heading[1], keys


def page(conf: Path) -> str:
    """What ``--help`` says, in 80 columns."""
    lines = [_HEAD]
    for group in groups(conf):
        about = group.about.partition(";")[0]
        lines.append(_wrapped(f"{group.sign}{group.name}=", f"{' '.join(group.options)}: {about}"))
    lines.append("")
    for heading, keys in scalars(conf):
        lines.append(_wrapped(heading, " ".join(keys)))
    return "\n".join([*lines, "", _TAIL])


def _wrapped(name: str, text: str) -> str:
    """``text`` beside ``name``, in as many lines as it takes."""
    indent = " " * 18
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {name:<15} ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
