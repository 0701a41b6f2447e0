"""Finds a user's mistakes in a composed configuration before anything heavy is imported; all are raised at once."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tlresearch.config import registry, schema
from tlresearch.config.errors import ConfigError, Problems, choose, nearest, require
from tlresearch.config.reader import Entry
from tlresearch.config.settings import Budget, Cache, Prices, Settings, check_ranges
from tlresearch.config.start import check_pipeline, check_start

EVERYTHING = "finetune"
"""The method that says "all parameters": void where no other method has an opinion, refused where one has."""


def check(config: DictConfig) -> None:
    """Raises ConfigError with every mistake that can be found without importing plugins. Changes nothing."""
    values = _plain(config)
    problems = Problems()
    _check_keys(values, problems)
    problems.raise_any()  # what follows relies on the keys
    if values["pipeline"] is not None:
        check_pipeline(values["pipeline"])
        for name in values["pipeline_shared"]:
            choose("pipeline_shared", name, values.keys() - {"pipeline", "pipeline_shared", "preset"})
        return  # every run of it is checked as it is composed: an option may be missing here that each of them gives
    check_start(values, problems)
    check_ranges(values, problems)
    for kind in registry.KINDS.values():
        if kind.multiple:
            _check_list(kind.name, config[kind.name], problems)
        elif values[kind.name] is not None:
            problems.attempt(kind.name, partial(_check_chosen, kind.name, config, values[kind.name]))
        elif kind.name != "predictor":
            problems.add(kind.name, f"null: must be one of {', '.join(registry.names(kind.name))}")
    for task, head in values["heads"].items():
        problems.attempt(f"heads.{task}", partial(_check_head, head))
    _check_methods(list(values["method"]), problems)
    for name in ("dataset", "optimizer"):
        _check_base(name, values[name], problems)
    _check_rate(values["optimizer"], problems)
    problems.raise_any()


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(values, dict)
    return cast(dict[str, Any], values)


def _check_keys(values: Mapping[str, Any], problems: Problems) -> None:
    """The keys themselves: `+key=…` adds and `~key` removes what OmegaConf cannot guard."""
    parts = {"cache": Cache, "budget": Budget, "prices": Prices}
    owners = [("", Settings, values), *((f"{name}.", owner, values.get(name, {})) for name, owner in parts.items())]
    for prefix, owner, given in owners:
        expected = {field.name for field in dataclasses.fields(owner)}
        for name in given.keys() - expected:
            problems.add(prefix + name, f"unknown key; {nearest(name, expected)}")
        for name in expected - given.keys():
            problems.add(prefix + name, "was removed, and every run needs it")


def _check_chosen(kind: str, config: DictConfig, values: Any) -> None:
    """As `_check_one`; `backbone.name=timm` would change the name and keep the options of the one that was chosen."""
    chosen = OmegaConf.get_type(config, kind)
    if dataclasses.is_dataclass(chosen):
        name = next(field.default for field in dataclasses.fields(chosen) if field.name == "name")
        require(values["name"] == name, "name", values["name"], f"chosen by {kind}={values['name']}")
    _check_one(kind, values)


def _check_one(kind: str, values: Any) -> Entry:
    """One chosen plugin: its name and the values of its options."""
    if not isinstance(values, Mapping) or "name" not in values:
        raise ConfigError(f"{values!r}: give the name of a {kind}. Allowed: {', '.join(registry.names(kind))}")
    entry = registry.find(kind, str(values["name"]))
    schema.check_values(schema.options(entry), {k: v for k, v in values.items() if k != "name"})
    return entry


def _check_list(kind: str, node: DictConfig, problems: Problems) -> None:
    for name in map(str, node):
        key = f"{kind}.{name}"
        if (kind, name) not in registry.index():
            problems.add(key, registry.unknown(kind, name, registry.names(kind)))
        elif OmegaConf.get_type(node, name) is dict:  # YAML merged options in without choosing the plugin
            problems.add(key, f"has options but is not chosen; add {name!r} to the list {kind}=[…]")
        else:
            options = schema.options(registry.index()[kind, name])
            problems.attempt(key, partial(schema.check_values, options, _plain(node[name])))


def _check_head(head: Any) -> None:
    """heads.TASK: a name, or a table with a name and options (of the types that the head declares)."""
    values = {"name": head} if isinstance(head, str) else head
    entry = _check_one("head", values)
    schema.check_types(entry, {k: v for k, v in values.items() if k != "name"})


def _check_methods(chosen: list[str], problems: Problems) -> None:
    """Conflicts that classes declare, either way round, and `finetune` beside a method that says what trains."""
    entries = {name: registry.index()[("method", name)] for name in chosen if ("method", name) in registry.index()}
    for i, first in enumerate(entries):
        for second in list(entries)[i + 1 :]:
            if second in entries[first].conflicts or first in entries[second].conflicts:
                problems.add("method", f"{first!r} and {second!r} conflict: choose one of them")
            elif EVERYTHING in (first, second):
                other = second if first == EVERYTHING else first
                if "trainable" in entries[other].defines:
                    message = f"{EVERYTHING!r} trains everything and {other!r} says what trains: choose one of them"
                    problems.add("method", message)


def _check_base(kind: str, values: Any, problems: Problems) -> None:
    """KIND.base and its arguments, against the base's own options (the common ones are those of what wraps it)."""
    if not isinstance(values, Mapping) or not isinstance(values.get("base"), str):
        return
    entry = problems.attempt(f"{kind}.base", lambda: registry.find(kind, values["base"]))
    if entry is None:
        return
    key, arguments = f"{kind}.base_arguments", values.get("base_arguments") or {}
    shared = {option.name for option in registry.common(kind)[0]} & arguments.keys()
    for name in sorted(shared):
        problems.add(f"{key}.{name}", f"is an option of every {kind}: give {kind}.{name} instead")
    given = {name: value for name, value in arguments.items() if name not in shared}
    problems.attempt(key, lambda: schema.check_values(entry.options, given))
    known = {name: value for name, value in given.items() if name in {option.name for option in entry.options}}
    problems.attempt(key, lambda: schema.check_types(entry, known))


def _check_rate(values: Any, problems: Problems) -> None:
    """The learning rate, by the contract itself: this one imports no torch."""
    if isinstance(values, Mapping) and "lr" in values:
        optimizer = importlib.import_module("tlresearch.core.tracker").Optimizer
        problems.attempt("optimizer", lambda: optimizer.common(lr=values["lr"]))
