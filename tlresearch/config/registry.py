"""The index of all plugins, made from their text, and the import of the one that a run chose. Imports no torch."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from tlresearch.config import cache
from tlresearch.config.errors import ConfigError, choose, nearest
from tlresearch.config.reader import Entry, Option, read_common

T = TypeVar("T", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent.parent
ENVIRONMENT = "TLRESEARCH_PLUGINS"
ENTRY_POINTS = "tlresearch.plugins"


class Kind(NamedTuple):
    """A group of plugins. folder: of the built-in ones; base: (file, class) whose `common` declares shared options.

    multiple: several are chosen at once, by a list (`method=[lora,ewc]`), and the key is `method.lora.rank`.
    """

    name: str
    folder: str
    base: tuple[str, str] | None = None
    multiple: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("backbone", "backbones", ("core/backbone.py", "Backbone")),
        Kind("head", "heads", ("core/head.py", "Head")),
        Kind("method", "methods", multiple=True),
        Kind("dataset", "datasets", ("core/dataset.py", "Dataset")),
        Kind("optimizer", "optimizers", ("core/tracker.py", "Optimizer")),
        Kind("schedule", "schedules"),
        Kind("tracker", "trackers", multiple=True),
        Kind("selection", "selection"),
        Kind("predictor", "predictors"),
    )
}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Marks a class or function as the plugin `name` of `kind`; the index finds the mark by reading the file's text."""
    choose("kind", kind, KINDS)
    return lambda plugin: plugin


class Source(NamedTuple):
    """A file that may register plugins. module: its dotted name, "" outside packages; origin: who brought it."""

    file: Path
    module: str
    origin: str


def index() -> Mapping[tuple[str, str], Entry]:
    """(kind, name) → entry, broken ones included; made once a process (and working folder)."""
    return _index(os.getcwd(), os.environ.get(ENVIRONMENT, ""))


def find(kind: str, name: str) -> Entry:
    """The usable plugin of that name; raises for an unknown or broken one."""
    entry = index().get((kind, name))
    if entry is None:
        raise ConfigError(unknown(kind, name, names(kind)))
    if entry.error:
        raise ConfigError(f"{kind} {name!r} cannot be used: {entry.error} ({entry.file}:{entry.line})")
    return entry


def names(kind: str) -> list[str]:
    """The names of all plugins of one kind, sorted."""
    return sorted(name for k, name in index() if k == kind)


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The message for a name that does not exist, the nearest one first, and the plugins whose name cannot be read."""
    nameless = [entry for (k, _), entry in index().items() if not k] if kind in KINDS else []
    hints = "".join(f"; perhaps {e.object or e.name} in {e.file}:{e.line}: {e.error}" for e in nameless)
    return f"unknown {kind} {name!r}; {nearest(name, allowed)}{hints}"


@functools.cache
def common(kind: str) -> tuple[tuple[Option, ...], str]:
    """What every plugin of a kind takes, and the text that explains it."""
    base = KINDS[kind].base
    return read_common(PACKAGE / base[0], base[1]) if base else ((), "")


def base(kind: str) -> Any:
    """The class that consumes the common options of a kind (imports it), None where there are none."""
    place = KINDS[kind].base
    if place is None:
        return None
    module = "tlresearch." + place[0].removesuffix(".py").replace("/", ".")
    return getattr(importlib.import_module(module), place[1])


def shipped(name: str) -> Path:
    """The folder conf/ or sweeps/: part of the installed package, or beside it in a checkout."""
    spec = find_spec(f"tlresearch.{name}")
    return Path(spec.origin).parent if spec and spec.origin else PACKAGE.parent / name


def variants(kind: str) -> dict[str, Path]:
    """Shipped YAML that chooses a plugin and deviates from its defaults: name → file."""
    return {file.stem: file for file in sorted((shipped("conf") / kind).glob("*.yaml"))}


def load(kind: str, name: str) -> Any:
    """Imports the chosen class or function; a plugin that fails at import is a ConfigError with the reason."""
    entry = find(kind, name)
    try:
        module = importlib.import_module(entry.module) if entry.module else _import_file(Path(entry.file))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{kind} {name!r} fails at import: {reason} ({entry.file})") from error
    return getattr(module, entry.object)


@functools.lru_cache(maxsize=8)
def _index(folder: str, paths: str) -> dict[tuple[str, str], Entry]:
    found: dict[tuple[str, str], Entry] = {}
    sources = {source.file.resolve(): source for source in reversed(list(_sources(Path(folder), paths)))}  # first wins
    for source, entries in cache.read_all(list(reversed(sources.values()))):
        for entry in entries:
            entry = _checked(entry._replace(module=source.module, origin=source.origin))
            other = found.get((entry.kind, entry.name))
            if other is not None:
                entry = other._replace(error=f"two plugins of one name, in {other.file} and {entry.file}: rename one")
            found[entry.kind, entry.name] = entry
    return found


def _checked(entry: Entry) -> Entry:
    """The entry with what a single file cannot know: whether the kind exists and options clash with the common ones."""
    if entry.error:
        return entry
    if entry.kind not in KINDS:
        return entry._replace(error=f"unknown kind {entry.kind!r}; {nearest(entry.kind, KINDS)}")
    taken = {option.name for option in common(entry.kind)[0]} | (set() if KINDS[entry.kind].multiple else {"name"})
    clash = sorted(taken & {option.name for option in entry.options})
    error = f"option {clash[0]!r} is one that every {entry.kind} has: rename it" if clash else ""
    return entry._replace(error=error)


def _sources(folder: Path, paths: str) -> Iterator[Source]:
    for kind in KINDS.values():
        for file in sorted((PACKAGE / kind.folder).glob("*.py")):
            yield Source(file, f"tlresearch.{kind.folder}.{file.stem}", "built-in")
    for place in filter(None, paths.split(os.pathsep)):
        for file in _files(Path(place) if os.path.isabs(place) else folder / place):
            yield Source(file, "", ENVIRONMENT)
    for file in _files(folder / "plugins"):
        yield Source(file, "", "plugins/")
    for point in metadata.entry_points(group=ENTRY_POINTS):
        yield from _package(point)


def _files(place: Path) -> list[Path]:
    """A file itself, or the files of a folder and of the folders in it; tests are not plugins."""
    found = [place] if place.is_file() else sorted([*place.glob("*.py"), *place.glob("*/*.py")])
    return [file for file in found if not file.name.startswith(("test_", "conftest"))]


def _package(point: metadata.EntryPoint) -> Iterator[Source]:
    """The files of an installed package's module, found without importing it (which may import torch)."""
    top, *rest = point.module.split(".")
    spec = find_spec(top)
    origin = f"package {point.dist.name}" if point.dist else f"package {top}"
    if spec is None:
        return
    folders = [Path(place).joinpath(*rest) for place in spec.submodule_search_locations or ()]
    single = [Path(spec.origin)] if spec.origin and not folders else [f.with_suffix(".py") for f in folders]
    for file in single:
        if file.is_file():
            yield Source(file, point.module, origin)
    for folder in folders:
        for file in _files(folder) if folder.is_dir() else []:
            parts = file.relative_to(folder).with_suffix("").parts
            yield Source(file, ".".join((point.module, *(p for p in parts if p != "__init__"))), origin)


def _import_file(file: Path) -> ModuleType:
    """Imports a file outside packages as a member of its folder, so that a folder plugin may use relative imports."""
    folder = file.parent
    package = f"tlresearch_plugins_{sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        init = folder / "__init__.py"
        if init.is_file():
            spec = spec_from_file_location(package, init, submodule_search_locations=[str(folder)])
            assert spec is not None
            assert spec.loader is not None
            module = sys.modules[package] = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[package]  # as Python itself does for a module that fails
                raise
        else:
            module = sys.modules[package] = ModuleType(package)
            module.__path__ = [str(folder)]
    return sys.modules[package] if file.stem == "__init__" else importlib.import_module(f"{package}.{file.stem}")
