"""Configs: the one bridge to Hydra. Nothing else under `vsie/` imports Hydra or OmegaConf.

Every tool's YAML in `configs/` is checked against a dataclass of `vsie.schemas`; the options of a method, encoder or
predictor are checked against the keyword-only constructor of its class, so a new component needs a file and a YAML and no
schema. A misspelt override stops the run before anything starts and names the nearest key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import re
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vsie.schemas import TOOLS, TrainConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROOMS = {"method": "methods", "encoder": "encoders", "predictor": "predictors",
         "flow": "motion.flow", "egomotion": "motion.egomotion"}  # config group -> folder of vsie/  # fmt: skip
# Written as the first, kept as the second: an option called like a folder of configs/ would be taken for a choice from it.
ALIASES = {"evaluate": {"encoder": "network", "data": "manifest"}}


def _unaliased(name: str, overrides: list[str]) -> list[str]:
    """Overrides of a tool with its `ALIASES` replaced, and without ``group=null``: a group is as it is where nothing is said."""
    overrides = [override for override in overrides if not (override.endswith("=null") and (CONFIGS / override[:-5]).is_dir())]
    for written, kept in ALIASES.get(name, {}).items():
        overrides = [re.sub(rf"^(\+*){written}=", rf"\g<1>{kept}=", override) for override in overrides]
    return overrides


class _Lines(logging.Handler):
    """Records as lines on the terminal that leave progress bars whole."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _let_warnings_through() -> None:
    """Let the library's own records reach the terminal: Hydra silences the loggers that are there before each job."""
    library = logging.getLogger("vsie")
    library.setLevel(logging.INFO)
    if not library.handlers:
        library.addHandler(_Lines())
    for name, logger in logging.root.manager.loggerDict.items():
        if name.split(".")[0] == "vsie" and isinstance(logger, logging.Logger):
            logger.disabled = False


def hydra_main(name: str) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Make `main(config)` a command: composed from `configs/<name>.yaml`, checked against its schema.

    What is given to `main` is an instance of the schema (component groups as plain dicts). Errors that tell a user something
    (ValueError, OSError, the library's own RuntimeErrors) end the program with one line and status 2, a wrong override with
    the nearest key. VSIE_TRACEBACK=1 shows where they came from.
    """
    import hydra
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    def decorate(main: Callable[[Any], Any]) -> Callable[[], None]:
        _register(name)
        refused: list[str] = []

        @functools.wraps(main)
        def task(config):
            _let_warnings_through()
            try:
                return main(_to_object(config))
            except MissingMandatoryValue as error:
                _stop(f"{error.full_key or error.key} is missing; --help shows how the tool is called")
            except (ValueError, FloatingPointError, RuntimeError, OSError) as error:
                if os.environ.get("VSIE_TRACEBACK") or type(error) is RuntimeError:
                    raise  # a fault of ours: the traceback is what helps
                if (varied := swept()) is None:
                    _stop(str(error))
                refused.append(", ".join(varied))  # the other runs of the sweep do not wait for it
                print(f"error: {refused[-1]}: {error}", file=sys.stderr)
                return None

        def command() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us, not to Hydra's printer
            if {"--help", "-h"} & set(sys.argv[1:]):
                print(_help(name, sys.modules[main.__module__].__doc__ or ""))
                return
            sys.argv[1:] = _unaliased(name, sys.argv[1:])
            try:
                _check_keys(name)
                hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)(task)()
            except hydra.errors.HydraException as error:
                _stop(_explain(error, name))
            except OmegaConfBaseException as error:
                _stop(_explain(error, name))
            except KeyboardInterrupt:
                _stop("interrupted", 130)
            if refused:
                _stop(f"{len(refused)} of the sweep's runs failed: {'; '.join(refused)}")

        return command

    return decorate


def swept() -> list[str] | None:
    """What a sweep (``-m``) varies as this run of it has it, such as ``["method=sie", "seed=1"]``; None outside of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    told = OverridesParser.create().parse_overrides([word for word in sys.argv[1:] if "=" in word and not word.startswith("-")])
    varied = {override.key_or_group for override in told if override.is_sweep_override()}
    return [override for override in HydraConfig.get().overrides.task if override.partition("=")[0].lstrip("+") in varied]


def compose(name: str, overrides: list[str]) -> Any:
    """The config that `tools/<name>.py` would run with, for Python users and tests.

    Raises:
        ValueError: An override that does not fit; the nearest key is named.
    """
    import hydra

    _register(name)
    overrides = _unaliased(name, overrides)
    with _fresh_hydra():
        try:
            return _to_object(hydra.compose(name, overrides))
        except hydra.errors.HydraException as error:
            raise ValueError(_explain(error, name, overrides)) from None


_composing = threading.RLock()  # Hydra's state is the process's: one thread at a time


@contextlib.contextmanager
def _fresh_hydra() -> Iterator[None]:
    """Hydra ready to compose from `configs/`, also inside of a tool that Hydra started; what was there is put back."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    with _composing:
        state = GlobalHydra.instance()
        before, state.hydra = state.hydra, None
        try:
            with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
                yield
        finally:
            GlobalHydra.instance().hydra = before


def _to_object(config: Any) -> Any:
    """A composed config as an instance of its schema, component groups as plain dicts."""
    from omegaconf import OmegaConf

    made = OmegaConf.to_object(config)
    for group in ROOMS:
        if getattr(made, group, None) is not None:
            setattr(made, group, to_plain(getattr(made, group)))
    return made


def to_plain(config: Any) -> dict[str, Any]:
    """A config as dicts, lists and scalars, as it is written to `config.yaml`."""
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)


def _help(name: str, document: str) -> str:
    """What `--help` shows: the tool's own words, the groups it composes, where to find all options."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    groups = [group for group in re.findall(r"^  - (?:optional )?([\w/]+): ", text, re.MULTILINE) if (CONFIGS / group).is_dir()]
    lines = [f"  {group}: {', '.join(sorted(file.stem for file in (CONFIGS / group).glob('*.yaml')))}" for group in groups]
    shown = ["Groups (choose with group=option, change an option with group.option=value):", *lines, ""] if lines else []
    return "\n".join([document.strip(), "", *shown, f"All options and their values: python tools/{name}.py --cfg job"])


def _stop(message: str, status: int = 2) -> typing.NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def _register(name: str) -> None:
    """Tell Hydra's config store the schemas: the tool's own, and one per component made from its constructor."""
    from hydra.core.config_store import ConfigStore

    store, schema = ConfigStore.instance(), TOOLS[name]
    store.store(name=f"{name}_schema", node=schema)
    if groups := [group for group in ROOMS if group in schema.__dataclass_fields__]:
        from vsie import components

        for group, room in ((group, ROOMS[group]) for group in groups):
            for component in components.names(room):
                store.store(group=group, name=f"{component}_schema", node=_component_schema(room, component))


def _component_schema(room: str, name: str) -> type:
    """A dataclass with the options of a component: what its keyword-only constructor takes."""
    from vsie import components

    fields: list[Any] = [("name", str, name)]
    for key, (hint, default) in components.options(components.find(room, name)).items():
        kind = _storable(hint)
        if default is inspect.Parameter.empty:
            fields.append((key, kind, field(default_factory=dict) if typing.get_origin(kind) is dict else "???"))
        elif isinstance(default, tuple):
            fields.append((key, kind, field(default_factory=functools.partial(list, default))))
        else:
            fields.append((key, kind, default))
    return dataclasses.make_dataclass(f"{name}_{room}_options", fields)


def _storable(hint: Any) -> Any:
    """The type hint as OmegaConf can hold it: tuples are lists, mappings are dicts."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return list[arguments[0]]
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return dict[arguments[0], arguments[1]]
    if origin in (typing.Union, types.UnionType):
        return typing.Optional[_storable(next(a for a in arguments if a is not type(None)))]  # noqa: UP045
    return hint


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys of a composed config."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _known(name: str, overrides: list[str]) -> list[str]:
    """All keys that may be overridden, with the groups chosen on the command line where these exist."""
    import hydra
    from omegaconf import OmegaConf

    chosen = [o for o in overrides if re.fullmatch(r"\+?(method|encoder|predictor|flow|egomotion|motion|data|experiment)=\w+", o)]
    with _fresh_hydra():
        for attempt in (chosen, []):
            try:
                config = hydra.compose(name, attempt)
                return list(_keys(OmegaConf.to_container(config, resolve=False)))
            except hydra.errors.HydraException:
                continue
        return []


def _check_keys(name: str) -> None:
    """Refuse an override whose key is not there, before Hydra makes a folder for the run."""
    overrides = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-")]
    known = None
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~")
        if key.startswith("hydra") or "@" in key or "/" in key:
            continue
        known = known if known is not None else _known(name, overrides)
        groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
        if known and key not in known and key not in groups:
            _stop(f"there is no option {key!r}{_nearest(key, [*known, *groups])}; --help shows the groups, --cfg job all options")


def _nearest(key: str, known: list[str]) -> str:
    from vsie.components import nearest

    leaf = {k.rsplit(".", 1)[-1]: k for k in reversed(known)}
    direct = nearest(key, known)
    if direct:
        return direct
    short = nearest(key.rsplit(".", 1)[-1], leaf)
    return f" (did you mean {leaf[re.search(chr(39) + '(.*)' + chr(39), short).group(1)]!r}?)" if short else ""


def _explain(error: Exception, name: str, overrides: list[str] | None = None) -> str:
    """Hydra's words for a wrong config, and the nearest key."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and str(cause).splitlines()[:1] and str(cause).splitlines()[0] not in text:
        text += f" ({str(cause).splitlines()[0]})"
    if choice := re.search(r"Could not find '([^'/]+)/([^']+)'", text):  # Hydra lists its own names and where it looked
        from vsie.components import nearest

        group, wrong = choice.groups()
        there = sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))
        return f"{group}={wrong}: there is no such {group}; there are {', '.join(there)}{nearest(wrong, there)}"
    text = " ".join(line.strip() for line in text.splitlines() if line.strip() and "append to your config" not in line)
    match = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' not in", text)
    known = _known(name, overrides if overrides is not None else sys.argv[1:]) if match else []
    if match and match.group(1) not in known:
        text += _nearest(match.group(1), known)
    return text


def from_plain(config: Mapping[str, Any]) -> TrainConfig:
    """A training config from the plain dicts that `to_plain` gave.

    Options that did not exist yet when a config was kept have their defaults: that is how the run was made.
    """

    from vsie import components

    def fill(schema: type, values: Mapping[str, Any]) -> Any:
        found = {}
        for entry in dataclasses.fields(schema):
            if entry.name in values:
                inner = typing.get_type_hints(schema)[entry.name]
                found[entry.name] = fill(inner, values[entry.name]) if dataclasses.is_dataclass(inner) else values[entry.name]
        return schema(**found)

    made = fill(TrainConfig, config)
    for group, room in ROOMS.items():
        values = getattr(made, group, None)
        if values:
            known = components.options(components.find(room, values["name"])).items()
            defaults = {key: list(value) if isinstance(value, tuple) else value for key, (_, value) in known}
            defaults = {key: value for key, value in defaults.items() if value is not inspect.Parameter.empty}
            setattr(made, group, values | {key: value for key, value in defaults.items() if key not in values})
    return made
