"""What a compiled step was made of: the functions bound in it, their options, and the source of every module they are from.

Two steps of one fingerprint are the same program. It is read off the bound function itself, so that nothing has to be
kept in step with it: an edited function, of ours or of a package of the user's own, is another program.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device)
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def fingerprint(function: Any) -> str:
    """A digest of ``function`` and all that it closes over."""
    digest = hashlib.sha256()
    modules: dict[str, ModuleType] = {}
    for part in _parts(function, set(), modules):
        digest.update(part.encode() + b"\0")
    for module in _closure(modules):
        digest.update(_source(module))
    return digest.hexdigest()


def _parts(x: Any, seen: set[int], modules: dict[str, ModuleType]) -> Iterator[str]:
    """A text for everything that is reachable from ``x``, in a fixed order; its modules are put into ``modules``."""
    if isinstance(x, _PLAIN):
        yield repr(x)
        return
    if id(x) in seen:
        return
    seen.add(id(x))
    kind = x if isinstance(x, type | FunctionType) else type(x)
    if (module := sys.modules.get(kind.__module__ or "")) is not None:
        modules[module.__name__] = module
    yield f"{kind.__module__}.{kind.__qualname__}"
    for part in _within(x):
        yield from _parts(part, seen, modules)


def _within(x: Any) -> Iterable[Any]:
    """What ``x`` is made of."""
    if isinstance(x, Tensor):
        return (tuple(x.shape), x.dtype, hashlib.sha256(x.detach().cpu().numpy().tobytes()).hexdigest())
    if isinstance(x, partial):
        return (x.func, x.args, sorted(x.keywords.items()))
    if isinstance(x, FunctionType):
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        return (cells, x.__defaults__, x.__kwdefaults__)
    if isinstance(x, MethodType):
        return (x.__func__, x.__self__)
    if isinstance(x, nn.Module):
        parameters = [(name, tuple(p.shape), p.dtype) for name, p in x.named_parameters(recurse=False)]
        own = {k: v for k, v in vars(x).items() if not k.startswith("_")}
        return (parameters, [*x.named_children()], sorted(own.items()))
    if isinstance(x, dict):
        return [*x.items()]
    if isinstance(x, set | frozenset):
        return sorted(x, key=repr)
    if isinstance(x, list | tuple | slice):
        return (x.start, x.stop, x.step) if isinstance(x, slice) else x
    return sorted(vars(x).items()) if hasattr(x, "__dict__") and not isinstance(x, type | ModuleType) else ()


def _closure(modules: dict[str, ModuleType]) -> list[ModuleType]:
    """These modules and those that they use, by import or by name, leaving out the libraries that are installed: unless
    a function was bound that comes from one."""
    packages = {name.partition(".")[0] for name in modules} - {"torch", "builtins"}
    found, waiting = {}, [*modules.values()]
    while waiting:
        module = waiting.pop()
        if module.__name__ in found or not _counts(module, packages):
            continue
        found[module.__name__] = module
        for value in list(vars(module).values()):
            used = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
            if used is not None:
                waiting.append(used)
    return [found[name] for name in sorted(found)]


def _counts(module: ModuleType, packages: set[str]) -> bool:
    file = getattr(module, "__file__", None)
    if not file or module.__name__.partition(".")[0] == "torch":  # its version stands for it
        return False
    return module.__name__.partition(".")[0] in packages or not str(Path(file).resolve()).startswith(_LIBRARIES)


def _source(module: ModuleType) -> bytes:
    try:
        return Path(str(module.__file__)).read_bytes()
    except OSError:  # within an archive, for example
        return module.__name__.encode()
