"""Options that several functions have in common, declared once."""

import inspect
from collections.abc import Callable
from functools import partial, wraps


def takes(**parts: Callable) -> Callable[[Callable], Callable]:
    """A decorator: each keyword-only argument that ``parts`` names is replaced, in the function's signature, by the
    keyword-only parameters of the part; what is given for these arrives bound to it, as a ``functools.partial``.

        def perceptrons(obs_size, outputs, generator, *, actor, critic): ...

        @takes(layers=perceptrons)
        def mlp(obs_size, action_size, generator, *, layers, squash):
            actor, critic = layers(obs_size, action_size, generator)

    ``mlp`` is then called with ``actor, critic, squash``, and ``inspect.signature`` says so. TypeError, as ever, where
    one of them is missing or none of them.
    """
    options = {name: _keyword_only(part) for name, part in parts.items()}

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.name not in parts]
        positional = [p for p in own if p.kind is not p.KEYWORD_ONLY]
        keyword_only = [p for p in own if p.kind is p.KEYWORD_ONLY]
        shared = [p for each in options.values() for p in each.values()]
        flat = signature.replace(parameters=[*positional, *shared, *keyword_only])

        @wraps(function)
        def call(*args, **given):
            flat.bind(*args, **given)
            bound = {
                name: partial(part, **{key: given.pop(key) for key in options[name]}) for name, part in parts.items()
            }
            return function(*args, **bound, **given)

        call.__signature__ = flat  # ty: ignore[missing-attribute]
        return call

    return decorate


def _keyword_only(function: Callable) -> dict[str, inspect.Parameter]:
    return {key: p for key, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
