"""Makes the object that a configuration names: common options to the base, its own to the class, wiring by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tlresearch.config import registry, schema
from tlresearch.config.errors import ConfigError, Problem
from tlresearch.config.reader import Entry, Option

T = TypeVar("T")


def build(kind: str, config: Mapping[str, Any], *, at: str | None = None, **wiring: Any) -> Any:
    """The plugin that `config` (plain values, with `name`) chooses; a function becomes a partial of its options.

    wiring: what positional arguments may ask for by name, beside what the kind's `common` makes of common options.
    at: the key that mistakes are reported below; by default where the kind lies ("backbone", "method.lora").
    Raises ConfigError, also for a ValueError of the plugin's own.
    """
    name = str(config["name"])
    return _below(schema.key(kind, name) if at is None else at, lambda: _build(kind, name, config, wiring))


def _build(kind: str, name: str, config: Mapping[str, Any], wiring: Mapping[str, Any]) -> Any:
    entry = registry.find(kind, name)
    shared, _ = registry.common(kind)
    values = {key: value for key, value in config.items() if key != "name" and value != schema.MISSING}
    _check(entry, (*shared, *entry.options), values)
    base = registry.base(kind)
    made = base.common(**_typed(shared, values)) if base is not None else {}
    plugin = registry.load(kind, name)
    options = _typed(entry.options, values)
    if not inspect.isclass(plugin):
        return functools.partial(plugin, **options)
    return plugin(*_positional(entry, {**made, **wiring}), **options)


def _check(entry: Entry, options: tuple[Option, ...], values: Mapping[str, Any]) -> None:
    required = {option.name: schema.MISSING for option in options if option.required and option.name not in values}
    schema.check_values(options, {**values, **required})


def _typed(options: tuple[Option, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `options`, those annotated as a tuple made one (YAML has lists only)."""
    given = {option.name: values[option.name] for option in options if option.name in values}
    for option in options:
        if option.annotation.strip("'\"").startswith("tuple") and isinstance(given.get(option.name), list):
            given[option.name] = tuple(given[option.name])
    return given


def _positional(entry: Entry, wiring: Mapping[str, Any]) -> list[Any]:
    for name in entry.wiring:
        if name not in wiring:
            given = ", ".join(sorted(wiring)) or "nothing"
            raise ConfigError(
                f"asks for {name!r}, and a {entry.kind} is given: {given}; an option must be keyword-only, "
                f"after `*` ({entry.file}:{entry.line})"
            )
    return [wiring[name] for name in entry.wiring]


def _below(key: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except ConfigError as error:
        raise (error.below(key) if key else error) from error
    except ValueError as error:
        raise ConfigError(Problem(key, str(error))) from error
