"""A plugin's options as a structured config: the base's common options and its own, typed and with defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from typing import Any

from tlresearch.config import option_types
from tlresearch.config.errors import Problem, Problems, nearest
from tlresearch.config.reader import Entry, Option
from tlresearch.config.registry import KINDS, common

MISSING = "???"  # OmegaConf's mark of a value that must be given


def options(entry: Entry) -> tuple[Option, ...]:
    """Common options first, then the plugin's own."""
    return common(entry.kind)[0] + entry.options


def structured(entry: Entry) -> type:
    """A dataclass that OmegaConf validates against; kinds of which one is chosen carry its `name` as well."""
    fields: list[tuple[str, Any, Any]] = []
    if not KINDS[entry.kind].multiple:
        fields.append(("name", str, field(default=entry.name)))
    fields += [(option.name, option_types.parse(option.annotation).type, _default(option)) for option in options(entry)]
    return make_dataclass(entry.object, fields)


def key(kind: str, name: str) -> str:
    """Where the options of a plugin lie in the configuration: "backbone", "method.lora"."""
    return f"{kind}.{name}" if KINDS[kind].multiple else kind


def check_values(allowed: tuple[Option, ...], values: Mapping[str, Any]) -> None:
    """Unknown names, missing values and values outside a Literal, all raised at once; types are OmegaConf's part."""
    problems = Problems()
    by_name = {option.name: option for option in allowed}
    for name in values:
        if name not in by_name:
            problems.add(name, f"unknown key; {nearest(name, by_name)}")
    for option in allowed:
        if values.get(option.name, MISSING) == MISSING and (option.required or option.name in values):
            problems.add(option.name, f"required: give a value ({option.annotation})")
        elif option.choices and option.name in values:
            for value in _leaves(values[option.name]):
                if value not in option.choices:
                    problems.add(option.name, f"{value!r}: unknown; {nearest(str(value), option.choices)}")
    problems.raise_any()


def check_types(entry: Entry, values: Mapping[str, Any]) -> None:
    """Validates plain values (arguments of a base, of an extra head) as the command line would have done."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(structured(entry))
    problems = Problems()
    for name, value in values.items():
        try:
            OmegaConf.update(schema, name, value)
        except OmegaConfBaseException as error:
            problems.found.append(Problem(name, f"{value!r}: {str(error.msg).splitlines()[0]}"))
    problems.raise_any()


def _default(option: Option) -> Any:
    if option.required:
        return field(default=MISSING)
    if isinstance(option.default, tuple | list | dict):
        value = list(option.default) if isinstance(option.default, tuple) else option.default
        return field(default_factory=lambda: copy.deepcopy(value))
    return field(default=option.default)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]
