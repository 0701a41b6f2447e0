"""Groups of runs compared: what every format of `tlresearch report` shows, as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlresearch.core.metrics import falls
from tlresearch.results.choosing import Choice, choose, rule
from tlresearch.results.columns import COLUMNS, columns
from tlresearch.results.keys import Keys, Row, about_data, about_labels, flat, listed, named, sort_key
from tlresearch.results.pairing import Unit, Varying, by_unit, describe, mixture, said, unit_keys, varying
from tlresearch.results.ranking import ranks
from tlresearch.results.references import References
from tlresearch.results.remarks import differing, remarks
from tlresearch.results.report import alike, check_metric, group, number, titles, training_seconds
from tlresearch.results.statistics import (
    LEVEL,
    Paired,
    bootstrap_interval,
    deviation,
    half_width,
    holm,
    mean,
    more_pairs,
    paired,
)  # fmt: skip


class Member(NamedTuple):
    """A group on its way: its runs that count, what they are called, with whom they are compared, ranked as what."""

    rows: list[dict[str, Any]]
    name: str
    cells: dict[str, Any]
    context: Any
    setting: str
    entity: str
    values: list[float]
    settings: list[dict[str, Any]]
    varying: Varying


def compare(
    found: Sequence[dict[str, Any]],
    *,
    metric: str,
    by: Sequence[str] = (),
    pivot: str | None = None,
    select: str | None = None,
    over: Sequence[str] = (),
    keys: Keys | None = None,
) -> dict[str, Any]:
    """The groups of the runs with their statistics, best first within each data set.

    Args:
        found: rows of `report.rows`; an identity that several stores have counts once.
        metric: by its dotted name.
        by: keys (`Keys`) whose values make the groups; none: all settings but the seeds do.
        pivot: one more key, whose values formats may turn into columns; groups are compared within one value of it.
        keys: of the runs that these were filtered from; none: there were no others.
        select, over: as `choosing.choose` takes them: only the runs that it chooses are compared.

    Groups are compared with the best one on the same data and number of labels (labels alone may differ where by says
    nothing else). Raises ConfigError for a key or a metric that no run has.
    """
    notes: list[str] = []
    keys = keys or Keys(found)
    by = list(dict.fromkeys([*by, *([pivot] if pivot else [])]))
    for key in by:
        keys.check("--by" if key != pivot else "--pivot", key)
    done = list({r["identity"]: r for r in found if r["status"] == "done"}.values())
    check_metric("metric", metric, done)
    choices = choose(found, select=select, over=over, metric=metric) if select else []
    if select:
        done = [r for choice in choices for r in choice.group.rows]
        notes += [rule(select, over), *(warning for choice in choices for warning in choice.warnings)]
    measured = [{**r, "number": value} for r in done if (value := number(r, metric)) is not None]
    if len(measured) < len(done):
        lacking = [r["identity"] for r in done if number(r, metric) is None]
        notes.append(f"{len(lacking)} run(s) without {metric}, left out: {listed(lacking)}")
    settings = describe(measured)
    parts = _by(measured, keys, by, pivot) if by else _by_default(measured, metric, over, keys.pretrained)
    members = [Member(*part, *_numbers(part[0], settings)) for part in parts]
    tried = {r["identity"]: choice for choice in choices for r in choice.group.rows}
    references = References(measured, settings, metric)
    groups = {id(m): _object(m, tried, references) for m in members}
    _compare(members, groups, metric, notes)
    ranking = ranks(
        [(m.entity, r, settings[r["identity"]], r["number"]) for m in members for r in m.rows], metric, notes
    )
    for m in members:
        groups[id(m)]["rank"] = None if ranking is None else ranking["ranks"].get(m.entity)
    notes += remarks([groups[id(m)] for m in members]) + differing(members, by)
    sign = 1 if falls(metric) else -1
    order = sorted(
        members, key=lambda m: ([sort_key(v) for k, v in m.cells.items() if about_data(k)], sign * mean(m.values))
    )
    return {
        "metric": metric,
        "better": "lower" if falls(metric) else "higher",
        "by": by or list(dict.fromkeys(key for m in members for key in m.cells)),
        "pivot": pivot,
        "shared": _shared(measured, keys, by, members),
        "select": {"metric": select, "over": list(over)} if select else None,
        "level": LEVEL,
        "groups": [groups[id(m)] for m in order],
        "ranks": ranking,
        "notes": notes,
        "not_done": [
            {"folder": r["folder"], "status": r["status"], "overrides": r["overrides"], "error": r["error"]}
            for r in found
            if r["status"] != "done"
        ],
    }


def _shared(measured: Sequence[Row], keys: Keys, by: Sequence[str], members: Sequence[Member]) -> dict[str, Any]:
    """Columns in which no two runs differ, and which are none of the groups' own."""
    own = {*by, *(key for m in members for key in m.cells), "seed"}
    left = [key for key in COLUMNS if key not in own]
    values = {key: {str(value): value for value in (keys.value(r, key) for r in measured)} for key in left}
    only = {key: next(iter(found.values())) for key, found in values.items() if len(found) == 1}
    return {key: value for key, value in only.items() if value is not None or key == "labels_per_class"}


def _by(measured: Sequence[dict[str, Any]], keys: Keys, by: Sequence[str], pivot: str | None) -> list[tuple[Any, ...]]:
    """Rows, name, cells, context, setting and entity of each group that the values of the keys make."""
    found: dict[str, list[dict[str, Any]]] = {}
    cells: dict[str, dict[str, Any]] = {}
    for r in measured:
        values = {key: keys.value(r, key) for key in by}
        name = json.dumps(list(values.values()), default=str)
        found.setdefault(name, []).append(r)
        cells.setdefault(name, values)
    alone = all(about_data(key) for key in by)  # then labels are what is compared
    apart = [key for key in by if key in (pivot, "seed") or (about_data(key) and not (alone and about_labels(key)))]
    result = []
    for key, rows in found.items():
        of = cells[key]
        context = {k: of[k] for k in apart}
        setting = ", ".join(named(k, v) for k, v in context.items())
        entity = ", ".join(named(k, v) for k, v in of.items() if not about_data(k))
        name = ", ".join(named(k, v) for k, v in of.items())
        result.append((rows, name, of, json.dumps(context, default=str), setting, entity))
    return result


def _by_default(
    measured: Sequence[dict[str, Any]], metric: str, over: Sequence[str], pretrained: bool
) -> list[tuple[Any, ...]]:
    """The same of the groups that differ in anything but their seeds and what was chosen for each."""
    groups = [group(members, metric) for members in alike(measured, over)]
    names = titles(groups, over=over, pretrained=pretrained)
    _, header, _ = columns(groups, names)
    result = []
    for one, title in zip(groups, names, strict=True):
        r = one.first
        cells = {"method": title, **{key: r[key] for key in header if key not in ("method", "seed")}}
        cells = {key: cells[key] for key in COLUMNS if key in cells and (key == "method" or key in header)}
        drawn = r["labels_per_class"] is not None
        data = {key: str(value) for key, value in flat(r).items() if key.startswith("dataset.")}
        context = [sorted(data.items()), None if drawn else str(r["fingerprint"]["data"])]
        setting = ", ".join(named(key, value) for key, value in cells.items() if about_data(key))
        name = ", ".join(named(key, value) for key, value in cells.items())
        entity = ", ".join(named(key, value) for key, value in cells.items() if not about_data(key))
        result.append((one.rows, name, cells, json.dumps(context), setting, entity))
    return result


def _numbers(rows: Sequence[Row], settings: Mapping[str, dict[str, Any]]) -> tuple[Any, ...]:
    of = [settings[r["identity"]] for r in rows]
    return [r["number"] for r in rows], of, varying(of)


def _object(m: Member, tried: Mapping[str, Choice], references: References) -> dict[str, Any]:
    centre, half = mean(m.values), half_width(m.values)
    bootstrap = bootstrap_interval(m.values)
    choices = [tried[r["identity"]] for r in m.rows if r["identity"] in tried]
    rules = dict.fromkeys(str((r["selection"] or {}).get("rule", "unknown")) for r in m.rows)
    chosen = choices[0].values if choices and all(c.values == choices[0].values for c in choices) else None
    only = choices[0] if choices and all(c is choices[0] for c in choices) else None
    return {
        "name": m.name,
        "cells": m.cells,
        "setting": m.setting,
        "identities": [r["identity"] for r in m.rows],
        "values": m.values,
        "units": [],
        "n": len(m.values),
        "mean": centre,
        "deviation": deviation(m.values),
        "interval": None if half is None else [centre - half, centre + half],
        "bootstrap": None if bootstrap is None else list(bootstrap),
        "best": False,
        "selection": ", ".join(rules),
        "chosen": chosen,
        "selected_value": None if only is None else only.score,
        "ties": 0 if only is None else only.ties,
        "oracle": any((r["selection"] or {}).get("oracle") for r in m.rows) or any(c.oracle for c in choices),
        "tried": max((len(choice.tried) for choice in choices), default=1),
        "stale": sum(bool(r["stale"]) for r in m.rows),
        "negative_transfer": references.verdict(m.rows),
        "averaged_over": mixture(m.varying) or None,
        "cost": _cost(m.rows),
        "against_best": None,
    }


def _cost(rows: Sequence[Row]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for r in rows:
        for name, value in r["cost"].items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name, []).append(value)
    training = [seconds for r in rows if (seconds := training_seconds(r["cost"])) is not None]
    means = {name: mean(several) for name, several in values.items()}
    return {**means, **({"seconds_training": mean(training)} if training else {})}


def _compare(members: Sequence[Member], groups: Mapping[int, dict[str, Any]], metric: str, notes: list[str]) -> None:
    """Tests the groups of each context against its best one, and says over what was paired."""
    contexts: dict[str, list[Member]] = {}
    for m in members:
        contexts.setdefault(m.context, []).append(m)
    unequal: list[str] = []
    apart: list[str] = []
    for together in contexts.values():
        keys = unit_keys([m.varying for m in together])
        for m in together:
            groups[id(m)]["units"] = [said(keys, tuple(s.get(key) for key in keys)) for s in m.settings]
        if len(together) < 2:
            continue
        sign = 1 if falls(metric) else -1
        best, *others = sorted(together, key=lambda m: sign * mean(m.values))
        units = {id(m): by_unit(m.settings, m.values, keys) for m in together}
        tests = [_paired(units[id(m)], units[id(best)]) for m in others]
        corrected = holm([None if test is None else test.p_t for test in tests])
        told = []
        for m, test, p in zip(others, tests, corrected, strict=True):
            told.append(test is not None and p is not None and p < LEVEL and sign * test.difference > 0)
            groups[id(m)]["against_best"] = {**_against(test, p), "best": best.name}
            sizes = len(units[id(m)]), len(units[id(best)])
            if test is None:
                apart.append(f"{m.name} and {best.name}")
            elif test.n < max(sizes):
                unequal.append(f"{m.name} ({sizes[0]}) and {best.name} ({sizes[1]}) over {test.n}")
        groups[id(best)]["best"] = all(told)
    if unequal:
        notes.append(f"unequal seeds or settings, paired over what is common: {listed(unequal)}")
    if apart:
        notes.append(f"no seed and settings in common, so not tested: {listed(apart)}")


def _paired(ours: Mapping[Unit, float], best: Mapping[Unit, float]) -> Paired | None:
    common = [unit for unit in ours if unit in best]
    return paired([ours[unit] - best[unit] for unit in common]) if common else None


def _against(test: Paired | None, corrected: float | None) -> dict[str, Any]:
    if test is None:
        return {
            "n": 0, "difference": None, "p_t": None, "p_wilcoxon": None, "p_holm": None, "effect": None,
            "more_seeds": None,
        }  # fmt: skip
    more = 0 if corrected is not None and corrected < LEVEL else more_pairs(test.effect, test.n)
    return {**test._asdict(), "p_holm": corrected, "more_seeds": more}
