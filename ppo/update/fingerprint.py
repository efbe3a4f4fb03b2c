"""What a compiled step was made of: the functions bound in it, their options, and the source of every module they are from.

Two steps of one fingerprint are the same program. It is read off the bound function itself, so that nothing has to be
kept in step with it: an edited function, of ours or of a package of the user's own, is another program.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OURS = ("ppo", "envs")

_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device)
_IN_PYTHON = 1 << 9  # a class with this flag is no part of the interpreter or of a library in C, such as an array
# Of every module: hooks and the like, and what is asked for by name.
_OF_TORCH = {name for name in vars(nn.Module()) if name.startswith("_")}
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def fingerprint(function: Any) -> str:
    """A digest of ``function`` and all that it closes over."""
    digest = hashlib.sha256()
    modules: dict[str, ModuleType] = {}
    for part in _parts(function, {}, modules):
        digest.update(part.encode() + b"\0")
    for module in _closure(modules):
        digest.update(_source(module))
        if module.__name__.partition(".")[0] not in _OURS:  # whose constants are written down
            digest.update(repr([*_parts(_constants(module), {}, {})]).encode())
    return digest.hexdigest()


def sources(packages: Iterable[str]) -> dict[str, str]:
    """{package: a digest of the source of all that is loaded of it}, and of what that imports; neither of a library that is
    installed, whose version stands for it, nor of ours."""
    found = {}
    for package in packages:
        loaded = {name: x for name, x in sys.modules.items() if name.partition(".")[0] == package and _counts(x, set())}
        theirs = [x for x in _closure(loaded) if x.__name__.partition(".")[0] not in _OURS]
        if theirs:
            code = repr([(x.__name__, _source(x)) for x in theirs])
            found[package] = hashlib.sha256(code.encode()).hexdigest()[:16]
    return found


def _parts(x: Any, seen: dict[int, tuple[int, Any]], modules: dict[str, ModuleType]) -> Iterator[str]:
    """A text for everything that is reachable from ``x``, in a fixed order; its modules are put into ``modules``.

    ``seen``: what was met so far, by its id, with the place where; kept, since the id of what is gone goes to another.
    """
    if isinstance(x, _PLAIN):
        yield repr(x)
        return
    if not isinstance(x, tuple | frozenset):  # which of these are one object is up to the interpreter
        if id(x) in seen:
            yield f"as at {seen[id(x)][0]}"
            return
        seen[id(x)] = (len(seen), x)
    kind = x if isinstance(x, type | FunctionType) else type(x)
    written = isinstance(x, FunctionType) or kind.__flags__ & _IN_PYTHON
    if written and (module := sys.modules.get(kind.__module__ or "")) is not None:
        modules[module.__name__] = module
    parts = [*_within(x)]
    yield f"{kind.__module__}.{kind.__qualname__} of {len(parts)}"
    for part in parts:
        yield from _parts(part, seen, modules)


def _within(x: Any) -> Iterable[Any]:
    """What ``x`` is made of."""
    if isinstance(x, nn.Parameter):  # a value that moves
        return (tuple(x.shape), x.dtype)
    if isinstance(x, Tensor):
        return (tuple(x.shape), x.dtype, hashlib.sha256(x.detach().cpu().numpy().tobytes()).hexdigest())
    if isinstance(x, partial):
        return (x.func, x.args, sorted(x.keywords.items()))
    if isinstance(x, FunctionType):
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        return (x.__code__, cells, x.__defaults__, x.__kwdefaults__)
    if isinstance(x, CodeType):  # two lambdas of a module have one name
        return (x.co_code, x.co_names, x.co_freevars, x.co_consts)
    if isinstance(x, MethodType):
        return (x.__func__, x.__self__)
    if isinstance(x, nn.Module):
        own = {k: v for k, v in vars(x).items() if k not in _OF_TORCH}
        tensors = (x.named_parameters(recurse=False), x.named_buffers(recurse=False))
        return (*map(list, tensors), [*x.named_children()], sorted(own.items()))
    if isinstance(x, dict):
        return [*x.items()]
    if isinstance(x, set | frozenset):
        return sorted(x, key=repr)
    if isinstance(x, list | tuple):
        return x
    if isinstance(x, type | ModuleType):
        return (x.__name__,)
    if hasattr(x, "__dict__"):
        return sorted(vars(x).items())
    try:
        reduced = x.__reduce_ex__(2)  # as it would be pickled: arrays, slices, what is written in C or has slots
    except Exception:  # whatever a class raises that cannot be
        return ()
    return reduced if isinstance(reduced, tuple) else (reduced,)


def _closure(modules: dict[str, ModuleType]) -> list[ModuleType]:
    """These modules and those that they import, leaving out the libraries that are installed: unless a function was bound
    that comes from one."""
    packages = {name.partition(".")[0] for name in modules} - {"torch", "builtins"}
    found, waiting = {}, [*modules.values()]
    while waiting:
        module = waiting.pop()
        if module.__name__ in found or not _counts(module, packages):
            continue
        found[module.__name__] = module
        names = _imported(_source(module), module.__package__ or "")
        waiting += [sys.modules[name] for name in names if name in sys.modules]
    return [found[name] for name in sorted(found)]


@cache
def _imported(source: bytes, package: str) -> frozenset[str]:
    """The names of all that a module of this package imports, whether or not it then uses more than a number of it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # written in another language
        return frozenset()
    found, inside = set(), package.split(".")
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) + 1 - node.level] if node.level else []
            base = [*above, *(node.module or "").split(".")]
            names = [".".join(filter(None, [*base, alias.name])) for alias in node.names]
        for name in names:  # the packages that it is in are imported, too; its last part may be no module
            parts = name.split(".")
            found.update(".".join(parts[:n]) for n in range(1, len(parts) + 1))
    return frozenset(found)


def _counts(module: ModuleType, packages: set[str]) -> bool:
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] == "torch":  # its version stands for it
        return False
    return module.__name__.partition(".")[0] in packages or not str(Path(file).resolve()).startswith(_LIBRARIES)


def _constants(module: ModuleType) -> list[tuple[str, Any]]:
    """The numbers, texts and arrays that a module holds, which may be read from anywhere: the tracer writes them down."""
    return [(k, v) for k, v in sorted(vars(module).items()) if not k.startswith("__") and _is_constant(v)]


def _is_constant(x: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(_is_constant, x))
    if isinstance(x, dict):
        return all(_is_constant(part) for pair in x.items() for part in pair)
    return isinstance(x, (*_PLAIN, Tensor, np.ndarray))


def _source(module: ModuleType) -> bytes:
    try:
        return Path(str(module.__file__)).read_bytes()
    except OSError:  # within an archive, for example
        return module.__name__.encode()
