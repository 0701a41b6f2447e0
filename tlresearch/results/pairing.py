"""Runs of two groups as pairs: what shares seed, sample, split and every other setting that varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from tlresearch.results.identity import START
from tlresearch.results.keys import Row, flat, listed, seeds, text
from tlresearch.results.statistics import mean

Unit = tuple[Any, ...]

_ABSENT = object()


class Varying(NamedTuple):
    """What a group's runs have: setting → its values, of those that vary among them; the names of all settings."""

    values: dict[str, list[Any]]
    names: frozenset[str]


def describe(found: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Identity → all that a run may be paired by, as `described`, without the groups that are the same everywhere.

    Most of a configuration is, and to spell it out for ten thousand runs takes a second.
    """
    configs = [r["config"] for r in found]
    tops = dict.fromkeys(chain.from_iterable(configs))
    left = [top for top in tops if not _same([config.get(top, _ABSENT) for config in configs])]
    return {r["identity"]: described(r, left) for r in found}


def _same(values: Sequence[Any]) -> bool:
    return values.count(values[0]) == len(values)


def described(r: Row, tops: Sequence[str]) -> dict[str, Any]:
    """A run's settings below those top-level keys, the list of its methods, and its seeds."""
    config = {top: r["config"][top] for top in tops if top in r["config"]}
    found = {key: value for key, value in flat({"config": config}).items() if key not in START}
    return {**found, "method": "+".join(name for name in r["method"] if name != "finetune"), **seeds(r)}


def varying(members: Sequence[Mapping[str, Any]]) -> Varying:
    """Which settings vary among the runs of a group, given as `described`."""
    values: dict[str, dict[Any, int]] = {}
    for settings in members:
        for key, value in settings.items():
            counts = values.setdefault(key, {})
            counts[value] = counts.get(value, 0) + 1
    several = {
        key: [*counts, *([None] if absent and None not in counts else [])]
        for key, counts in values.items()
        if (absent := sum(counts.values()) < len(members)) or len(counts) > 1
    }
    return Varying(several, frozenset(values))


def unit_keys(groups: Sequence[Varying]) -> list[str]:
    """The settings that pairs must share: what varies within a group and is a setting of every group.

    What only some groups have (a rank of LoRA beside a probe) is averaged over: no run of the others could share it.
    """
    everywhere = frozenset.intersection(*(group.names for group in groups))
    keys = dict.fromkeys(key for group in groups for key in group.values if key in everywhere)
    return ["seed", *(key for key in sorted(keys) if key != "seed")]


def by_unit(members: Sequence[Mapping[str, Any]], values: Sequence[float], keys: Sequence[str]) -> dict[Unit, float]:
    """The mean of the values of each unit. members: as `described`, in the order of values."""
    found: dict[Unit, list[float]] = {}
    for settings, value in zip(members, values, strict=True):
        found.setdefault(tuple(settings.get(key) for key in keys), []).append(value)
    return {unit: mean(several) for unit, several in found.items()}


def said(keys: Sequence[str], unit: Unit) -> str:
    """A unit as text: "seed=0 dataset.split_seed=1"; equal texts, equal units."""
    return " ".join(f"{key}={text(key, value)}" for key, value in zip(keys, unit, strict=True) if value is not None)


def mixture(found: Varying) -> str:
    """What a group averages over beside its seeds: "optimizer.lr (0.1, 0.01)"; "" where it does not.

    Options of a plugin go without saying where the plugin itself varies.
    """
    keys = [key for key in sorted(found.values) if key not in ("seed", "dataset.sample_seed", "dataset.split_seed")]
    plugins = {key.partition(".")[0] for key in keys if key.endswith(".name") or key == "method"}
    told = [key for key in keys if key.partition(".")[0] not in plugins or key.endswith(".name") or key == "method"]
    return listed([f"{key} ({listed([text(key, value) or 'none' for value in found.values[key]])})" for key in told])
