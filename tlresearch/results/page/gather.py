"""Everything the page shows, as one JSON object whose size is bounded whatever the store holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tlresearch.results.page.confusion import confusions, has_answers
from tlresearch.results.page.history import curves
from tlresearch.results.page.parts import domains, stages
from tlresearch.results.page.values import number, numbers, rounded, text

GROUPS, RUNS = 2000, 5000
"""So many groups and runs are in the page at most; of more the best groups, and the first runs of each."""

WITH_CURVES, WITH_CONFUSION, WITH_DOMAINS, WITH_STAGES = 150, 40, 100, 60
"""So many runs (of domains: groups) have these; one run of each of the best groups first, then a second of each."""

NOTES, NOT_DONE = 50, 200

LABELS = ("dataset.labels_per_class", "labels_per_class")

Row = Mapping[str, Any]
T = TypeVar("T")


def gather(comparisons: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
    """The page's data.

    Args:
        comparisons: one a metric, as `results.comparison` makes them. rows: of `results.report.rows`, which the groups'
            identities refer to; their folders are read for curves, confusions and stages.
    """
    by_identity: dict[str, Row] = {}
    for row in rows:
        if row["status"] == "done":
            by_identity.setdefault(row["identity"], row)
    best = [(comparison, _best_first(comparison)[:GROUPS]) for comparison in comparisons]
    places: dict[str, int] = {}
    for name in _spread([group["identities"] for _, found in best for group in found]):
        if name in by_identity and len(places) < RUNS:
            places.setdefault(name, len(places))
    chosen = [by_identity[name] for name in places]
    metrics = [comparison["metric"] for comparison in comparisons]
    parts = {
        "curves": _first(chosen, lambda row: curves(Path(row["folder"])), WITH_CURVES),
        "confusions": _first(chosen, lambda row: confusions(row) if has_answers(row) else [], WITH_CONFUSION),
        "stages": _first(chosen, stages, WITH_STAGES),
    }
    known = sum(len(group["identities"]) for _, found in best for group in found)
    return {
        "comparisons": [_comparison(c, found, by_identity, places) for c, found in best],
        "runs": [_run(row, metrics) for row in chosen],
        **parts,
        "limits": {
            "groups": sum(len(comparison["groups"]) for comparison in comparisons),
            "runs": known,
            "curves": WITH_CURVES,
            "confusions": WITH_CONFUSION,
            "domains": WITH_DOMAINS,
            "stages": WITH_STAGES,
        },
    }


def _best_first(comparison: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sign = 1 if comparison["better"] == "lower" else -1
    means = [number(group["mean"]) for group in comparison["groups"]]
    order = sorted(range(len(means)), key=lambda i: (means[i] is None, sign * (means[i] or 0)))
    return [comparison["groups"][i] for i in order]


def _spread(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first of every list, then the second of every list …"""
    for column in itertools.zip_longest(*lists):
        yield from (name for name in column if name is not None)


def _first(rows: Sequence[Row], read: Callable[[Row], T], most: int) -> dict[str, T]:
    """The run's number → what was read of it, for the first `most` runs of which there is something."""
    found = ((i, part) for i, row in enumerate(rows) if (part := read(row)))
    return {str(i): part for i, part in itertools.islice(found, most)}


def _comparison(
    comparison: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Row],
    places: Mapping[str, int],
) -> dict[str, Any]:
    cells = {id(group): {text(key): _cell(key, value) for key, value in group["cells"].items()} for group in found}
    names = dict.fromkeys(key for of_group in cells.values() for key in of_group)
    values = {key: {of_group.get(key, "") for of_group in cells.values()} for key in names}
    by = {text(key) for key in comparison.get("by") or ()}
    varying = [key for key in names if key in by or len(values[key]) > 1]
    lost = comparison.get("not_done") or ()
    alike = {key: only for key in names if key not in varying and (only := next(iter(values[key])))}
    groups = []
    for i, group in enumerate(found):
        members = [rows[name] for name in group["identities"] if name in rows]
        of_domains = domains(members, comparison["metric"], comparison["better"]) if i < WITH_DOMAINS else None
        entry = _group(group, cells[id(group)], varying, members)
        entry["runs"] = [places[name] for name in dict.fromkeys(group["identities"]) if name in places]
        groups.append({**entry, "domains": of_domains} if of_domains else entry)
    return {
        "metric": text(comparison["metric"]),
        "better": comparison["better"],
        "columns": varying,
        "shared": {**_texts(comparison.get("shared")), **alike},
        "groups": groups,
        "notes": [text(note, 400) for note in comparison.get("notes") or ()][:NOTES],
        "not_done": [{key: text(value, 300) for key, value in run.items()} for run in lost[:NOT_DONE]],
        "not_done_in_all": len(lost),
    }


def _group(
    group: Mapping[str, Any], cells: Mapping[str, str], varying: Sequence[str], members: Sequence[Row]
) -> dict[str, Any]:
    against = group.get("against_best") or {}
    told = [cells[key] for key in varying if key not in LABELS and cells.get(key)]
    return {
        "name": text(group["name"]),
        "cells": {key: value for key, value in cells.items() if key in varying},
        "line": " · ".join(told) or text(group["name"]),
        "labels": _labels(group["cells"], members),
        "n": group["n"],
        **{key: number(group.get(key)) for key in ("mean", "deviation")},
        **{key: _pair(group.get(key)) for key in ("interval", "bootstrap")},
        "best": bool(group.get("best")),
        "selection": text(group.get("selection")),
        "oracle": bool(group.get("oracle")),
        "tried": number(group.get("tried")),
        "stale": number(group.get("stale")) or 0,
        "negative_transfer": text(group.get("negative_transfer"), 300),
        "cost": {key: rounded(value) for key, value in numbers(group.get("cost")).items()},
        "chosen": text(" ".join(f"{key}={value}" for key, value in (group.get("chosen") or {}).items())),
        "rank": number(group.get("rank")),
        "averaged_over": text(group.get("averaged_over")),
        "against_best": {**numbers(against), "best": text(against.get("best"))} if against else None,
    }


def _cell(key: str, value: Any) -> str:
    return "all" if key in LABELS and value is None else text(value)


def _pair(value: Any) -> list[float | int | None] | None:
    """An interval, None where one of its ends is missing."""
    if not isinstance(value, Sequence) or len(value) != 2 or any(number(end) is None for end in value):
        return None
    return [number(end) for end in value]


def _labels(cells: Mapping[str, Any], members: Sequence[Row]) -> int | str | None:
    """Labels per class of a group's runs, "all" for no limit; None where they have different ones."""
    found = {row.get("labels_per_class") for row in members} or {cells.get(key) for key in LABELS if key in cells}
    if len(found) != 1:
        return None
    (only,) = found
    return only if isinstance(only, int) else "all"


def _run(row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    from tlresearch.results.report import metrics as by_name, training_seconds

    values = by_name(row["metrics"])
    return {
        "folder": text(row["folder"]),
        "seed": text(row["seed"]),
        "stale": bool(row["stale"]),
        "values": [number(values.get(metric)) for metric in metrics],
        "seconds": rounded(training_seconds(row["cost"])),
        "overrides": text(" ".join(str(override) for override in row["overrides"]), 240),
    }


def _texts(values: Any) -> dict[str, str]:
    """What all groups share, as text; what is nothing is left out."""
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {text(key): found for key, value in pairs if (found := text(value))}
