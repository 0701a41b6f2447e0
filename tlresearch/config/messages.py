"""Hydra's and OmegaConf's exceptions as one clear message: key, value, what is allowed, the nearest match."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from tlresearch.config import registry
from tlresearch.config.errors import ConfigError, nearest

RENAMED = {
    "prices.usd_per_hour": "the price of an hour goes by the device now; give prices.usd_per_gpu_hour (of one GPU), "
    "prices.usd_per_cpu_hour (of a machine without), or both"
}
"""Keys of earlier versions → where they have gone."""

NOUNS = {
    "IntegerNode": "an integer",
    "FloatNode": "a number",
    "BooleanNode": "true or false",
    "StringNode": "a string",
    "DictConfig": "a table {key: value, …}",
    "ListConfig": "a list [a, b, …]",
}


def user_error(error: BaseException) -> str | None:
    """What the user did wrong, None where the error is not a user's mistake."""
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf(error)
    if isinstance(error, HydraException):
        inner = error.__cause__
        if isinstance(inner, OmegaConfBaseException):
            return _omegaconf(inner)
        return _composition(str(error).strip())
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a group takes a name or a list of names, not null or a number; leave it out, or write ~GROUP for none"
    return None


def _missing_config(error: MissingConfigException) -> str:
    kind, _, name = (error.missing_cfg_file or "").rpartition("/")
    allowed = _options(kind, str(error))
    if kind in registry.KINDS:
        return registry.unknown(kind, name, {*allowed, *registry.names(kind)})
    if kind:
        return registry.unknown(kind, name, allowed)
    return registry.unknown("config", name, allowed) if name else str(error).splitlines()[0]


def _options(group: str, message: str) -> set[str]:
    """The names in a group, over the search path that Hydra prints at the end of its message."""
    from hydra._internal.sources_registry import SourcesRegistry

    names: set[str] = set()
    for scheme, path in re.findall(r"path=(\w+)://(\S*)", message):
        if (scheme, path) != ("pkg", "hydra.conf") and scheme != "structured":
            source = SourcesRegistry.instance().resolve(scheme)("", f"{scheme}://{path}")
            if source.is_group(group):
                names |= set(source.list(group, ObjectType.CONFIG))
    return names


def _unreadable(error: OverrideParseException) -> str:
    detail = str(error.message).splitlines()[0]
    return (
        f"{error.override}: cannot be read ({detail}); write KEY=VALUE, lists as KEY=[a,b], "
        "and quote a value with special characters: 'KEY=\"VALUE\"'"
    )


def _composition(message: str) -> str:
    """Hydra's own words where they are clear enough, without its advice that does not apply here."""
    sweep = re.match(r"Ambiguous value for argument '(.+)'|Sweep parameters '(.+)' requires --multirun", message)
    if sweep:
        override = sweep[1] or sweep[2]
        return f"{override}: several values: add -m to run one after the other, or write a list: KEY=[a,b]"
    return message


def _omegaconf(error: OmegaConfBaseException) -> str:
    key, value = error.full_key or str(error.key or ""), error.value
    first = (error.msg or str(error)).splitlines()[0]
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: required; give {key}=…"
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and isinstance(error.parent_node, DictConfig):
        return _unknown_key(key, error.parent_node)
    if isinstance(error, ValidationError):
        noun = NOUNS.get(type(error.child_node).__name__)
        if "not Optional" in first:
            return f"{key}: null: must be {noun or 'a value'}, null is not allowed"
        if noun and value is not None:
            shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            return f"{key}: {shown!r}: must be {noun}"
    return f"{key}: {first}" if key else first


def _unknown_key(key: str, parent: Any) -> str:
    place, _, name = key.rpartition(".")
    if place in registry.KINDS and registry.KINDS[place].multiple:
        chosen = ",".join([*map(str, parent), name])
        if (place, name) in registry.index():
            return f"{key}: {name!r} is not chosen; add it: {place}=[{chosen}]"
        return f"{key}: {registry.unknown(place, name, registry.names(place))}"
    if place in registry.KINDS and not parent:
        return f"{key}: no {place} is chosen; give {place}=NAME. Allowed: {', '.join(registry.names(place))}"
    if key in RENAMED:
        return f"{key}: {RENAMED[key]}"
    allowed = {str(k) for k in parent if k != "hydra"} | ({"preset"} if not place else set())
    return f"{key}: unknown key; {nearest(name, allowed)}"
