"""Spares a command what Hydra does for nothing: a second composition, copies of its store, tables of all choices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal import defaults_list
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig

_composed = Hydra.get_mode
_choices = defaults_list._create_interpolation_map


def install() -> None:
    """Makes Hydra compose for its mode only where something may set it, and keep one store; twice changes nothing.

    A composition copies what it looks into, the store of all registered nodes with it; what is loaded from a store is a
    copy already. And each of its files with defaults gets a table of all choices, for names as `model_${dataset}`.
    """
    Hydra.get_mode = _mode  # type: ignore[assignment, method-assign]
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    defaults_list._create_interpolation_map = _choices_where_asked  # type: ignore[assignment]


def _mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """None: the flag alone, `-m` or none, says whether it is a sweep."""
    if said(hydra.config_loader.get_sources(), overrides):
        return _composed(hydra, config_name, overrides)  # type: ignore[no-any-return]
    return None


def _choices_where_asked(
    overrides: defaults_list.Overrides, defaults: list[InputDefault], self_added: bool
) -> DictConfig | None:
    """None where no name has an interpolation, which is all that the table of choices is read for."""
    asked = any(default.is_interpolation() for default in defaults)
    return _choices(overrides, defaults, self_added) if asked else None


def said(sources: Iterable[ConfigSource], overrides: Sequence[str]) -> bool:
    """Whether an override or a YAML file on the search path may speak of the mode; Hydra's own and plugins do not."""
    if any("mode" in override or "searchpath" in override for override in overrides if "hydra" in override):
        return True
    known = list(sources)
    if any(source.scheme() == "file" for source in known):  # one's own folder, which may hold anything: not walked
        return True
    folders = [Path(source.path) for source in known if source.scheme() == "shipped"]
    return any("mode:" in file.read_text(errors="replace") for folder in folders for file in folder.rglob("*.yaml"))
