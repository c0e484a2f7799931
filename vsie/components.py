"""Methods, encoders, predictors and the like by name: the file name is the name, nothing is registered."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterable, Mapping

ROOMS = ("methods", "encoders", "predictors", "motion.flow", "motion.egomotion", "data.readers")
# files that hold no component of their own, or none that can be trained
SHARED = {"base", "resnet", "conditioning", "projector", "action", "ema", "pairwise", "exported"}


def names(room: str) -> list[str]:
    """The names of all components in `vsie/<room>/`."""
    package = importlib.import_module(f"vsie.{room}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in SHARED)


def find(room: str, name: str) -> type:
    """The class that the file `vsie/<room>/<name>.py` is named after (case and underscores apart).

    Raises:
        ValueError: No such file; the nearest name is told.
    """
    known = names(room)
    if name not in known:
        raise ValueError(f"{name!r} is not one of vsie's {room}: {', '.join(known)}{nearest(name, known)}")
    module = importlib.import_module(f"vsie.{room}.{name}")
    for key, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__ and key.lower() == name.replace("_", ""):
            return value
    raise ValueError(f"vsie/{room}/{name}.py holds no class called {name.replace('_', '')} (in any case)")


def options(component: type) -> dict[str, tuple[type, object]]:
    """The keyword-only options of a component's constructor: name -> (type, default; `inspect.Parameter.empty` if none).

    A constructor that takes ``**`` hands that on to the class it derives from, whose options are then options too.
    """
    found: dict[str, tuple[type, object]] = {}
    for constructor in [vars(owner)["__init__"] for owner in component.__mro__ if "__init__" in vars(owner)]:
        hints, parameters = typing.get_type_hints(constructor), inspect.signature(constructor).parameters.values()
        own = {p.name: (hints.get(p.name, object), p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
        found = own | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def build(room: str, name: str, *parts, **values):
    """Construct a component: `parts` are its positional arguments, `values` its options, checked by name.

    Raises:
        ValueError: An unknown component or option; the nearest one is told.
    """
    component = find(room, name)
    known = options(component)
    for key in values:
        if key not in known:
            raise ValueError(f"{name} ({room}) has no option {key!r}{nearest(key, known)}; it has {', '.join(sorted(known))}")
    return component(*parts, **{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def build_from(room: str, config: Mapping[str, object], *parts):
    """`build` from a mapping that holds the component's name under ``name`` and its options beside it."""
    return build(room, str(config["name"]), *parts, **{key: value for key, value in config.items() if key != "name"})


def nearest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean X?)`` for the known word that looks most like `word`, or nothing."""
    match = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
