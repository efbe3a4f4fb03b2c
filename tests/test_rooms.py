"""The rooms of ``ppo/``: who may import whom, in one direction and without a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {str(p.relative_to(ROOT))[:-3].replace("/", "."): p for d in ("ppo", "envs") for p in (ROOT / d).rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}

ERRORS = "ppo.config.options:ConfigError"
EXTRAS = "ppo.config.extras:needs"  # what to type where a package is missing
ALLOWED = {  # what a room imports of the house: modules, rooms, or one name of a module; its own are free
    "envs": (),
    "ppo.network": ("envs",),
    "ppo.control": (),
    "ppo.logging": (EXTRAS,),
    "ppo.buffer": ("envs", "ppo.network"),
    "ppo.loss": ("envs", "ppo.network", "ppo.buffer.data", "ppo.control.progress", "ppo.control.width", ERRORS, EXTRAS),
    "ppo.update": ("envs.native", "ppo.network", "ppo.buffer", "ppo.loss", "ppo.control", "ppo.logging.files"),
    "ppo.config": ("envs",),
    "ppo.doctor": ("envs", "ppo.logging", "ppo.config", "ppo.run.folder"),
    "ppo.page": ("ppo.logging",),
    "ppo.compare": ("ppo.page", "ppo.logging", "ppo.config", "ppo.run.folder"),
    "ppo.report": ("ppo.page", "ppo.doctor", "ppo.logging", "ppo.config", "ppo.run.folder"),
    "ppo.run": (
        "envs",
        "ppo.network",
        "ppo.buffer",
        "ppo.loss",
        "ppo.control",
        "ppo.update",
        "ppo.config",
        "ppo.logging",
    ),
}


def room(module: str) -> str:
    return next((name for name in ALLOWED if _within(module, name)), "ppo")


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def imported(path: Path, *, everywhere: bool = True) -> Iterator[tuple[str, str]]:
    """(module, name) for every import; also of those within functions, unless not ``everywhere``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "") if inner in MODULES else (str(node.module), alias.name)


def of_the_house(path: Path) -> set[tuple[str, str]]:
    return {(module, name) for module, name in imported(path) if module.split(".")[0] in ("ppo", "envs")}


def against(module: str, path: Path) -> list[str]:
    """Its imports that ``ALLOWED`` does not have."""
    here = room(module)
    if here == "ppo":  # on top: what people type, and the sweeps
        return []
    own = (here, *ALLOWED[here])
    return [
        f"{found}:{name}"
        for found, name in of_the_house(path)
        if f"{found}:{name}" not in own and not any(_within(found, place) for place in own)
    ]


def test_every_room_imports_what_the_plan_lets_it_and_nothing_on_top():
    found = {(module, name) for module, path in MODULES.items() for name in against(module, path)}
    assert found == set(), "against the plan; see ALLOWED"


def test_no_circle():
    edges = {m: sorted({other for other, _ in of_the_house(path)} & set(MODULES) - {m}) for m, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in edges[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_tab_completion_does_not_import_torch():
    """It imports the command line, and what that imports when it is imported; then it composes the configuration."""
    waiting, seen = ["ppo.cli"], set()
    while waiting:
        module = waiting.pop()
        assert module.partition(".")[0] != "torch"
        if module in MODULES and module not in seen:
            seen.add(module)
            waiting += [other for other, _ in imported(MODULES[module], everywhere=False)]
    assert "ppo.config.check" in seen


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("ppo.network.flat", "from ppo.loss import kl"),
        ("ppo.loss.kl", "def f():\n    import ppo.update.step"),
        ("ppo.loss.demo", "from ppo.config.options import strategy"),
        ("ppo.config.auto", "from ppo.run.build import build_network"),
        ("envs.gym", "from ppo.config import options"),
    ],
)
def test_an_import_that_is_turned_around_is_found(tmp_path, module, line):
    (tmp_path / "it.py").write_text(f"{line}\n")
    assert len(against(module, tmp_path / "it.py")) == 1
