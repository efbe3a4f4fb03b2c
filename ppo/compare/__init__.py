"""From runs to a verdict: what differs between two arms, how sure that is, and how many seeds would settle it.

The package can be called, so that it is ``ppo.compare("outputs/sweep", by="kl")`` from Python: see ``ppo.api.verdict``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *paths: Any, **options: Any) -> Any:
        return import_module("ppo.api").verdict(*paths, **options)


sys.modules[__name__].__class__ = _Callable
