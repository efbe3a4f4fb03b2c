"""PPO for continuous control: ``ppo.fit(...)`` trains, ``ppo.load(RUN)`` acts, ``ppo.compare(PATHS, by=...)`` decides.

What is imported here is found only when it is asked for: completing a command line must not wait for torch.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {"fit": "fit", "load": "load", "Policy": "Policy", "Verdict": "Verdict"}


def __getattr__(name: str) -> Any:
    if name == "compare":  # a package, which can be called: see there
        return import_module("ppo.compare")
    if name in _PUBLIC:
        return getattr(import_module("ppo.api"), _PUBLIC[name])
    raise AttributeError(f"module 'ppo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC, "compare"])
