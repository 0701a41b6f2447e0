"""A comparison as CSV: a line a group, numbers in full; under a pivot a line for each of the other keys' values."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from tlresearch.results.formats.layout import plain
from tlresearch.results.keys import sort_key, text

NUMBERS = ("n", "mean", "deviation", "low", "high", "bootstrap_low", "bootstrap_high")
AGAINST = ("difference", "p_t", "p_wilcoxon", "p_holm", "effect", "more_seeds")
SECONDS = ("seconds_train", "seconds_wait", "seconds_features", "seconds_training")
"""Steps, waiting for data, computing features that are kept, and all three."""
OTHERS = ("best", "rank", "selection", "oracle", "tried", "stale", "negative_transfer")


def write(comparison: Mapping[str, Any]) -> str:
    """The lines, the header first; empty where there is no number. pairs: how many the tests are made of."""
    metric, by, pivot = comparison["metric"], comparison["by"], comparison["pivot"]
    over = (comparison["select"] or {}).get("over", [])
    keys = [key for key in by if key != pivot]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if not pivot:
        writer.writerow([*keys, *over, "metric", *NUMBERS, "pairs", *AGAINST, *OTHERS, *SECONDS])
        for g in comparison["groups"]:
            chosen, against, numbers = g["chosen"] or {}, g["against_best"] or {}, _numbers(g)
            settings = [*((key, g["cells"].get(key)) for key in keys), *((key, chosen.get(key)) for key in over)]
            writer.writerow([
                *(_text(key, value) for key, value in settings), metric, *(numbers[name] for name in NUMBERS),
                against.get("n"), *(against.get(name) for name in AGAINST), *(g[name] for name in OTHERS),
                *(g["cost"].get(name) for name in SECONDS),
            ])  # fmt: skip
        return out.getvalue()
    values = {_text(pivot, v): v for v in (g["cells"].get(pivot) for g in comparison["groups"])}
    columns = sorted(values, key=lambda name: sort_key(values[name]))
    shown = (*NUMBERS, "pairs", "p_holm", "best")
    writer.writerow([*keys, "metric", *(f"{name} {pivot}={value}" for value in columns for name in shown)])
    rows: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for g in comparison["groups"]:
        place = tuple(_text(key, g["cells"].get(key)) for key in keys)
        against = g["against_best"] or {}
        tested = {"pairs": against.get("n"), "p_holm": against.get("p_holm"), "best": g["best"]}
        rows.setdefault(place, {})[_text(pivot, g["cells"].get(pivot))] = {**_numbers(g), **tested}
    for place, found in rows.items():
        cells = [found.get(value, {}).get(name) for value in columns for name in shown]
        writer.writerow([*place, metric, *cells])
    return out.getvalue()


def _numbers(g: Mapping[str, Any]) -> dict[str, Any]:
    low, high = g["interval"] or (None, None)
    bootstrap_low, bootstrap_high = g["bootstrap"] or (None, None)
    found = {"n": g["n"], "mean": g["mean"], "deviation": g["deviation"], "low": low, "high": high}
    return {**found, "bootstrap_low": bootstrap_low, "bootstrap_high": bootstrap_high}


def _text(key: str, value: Any) -> str:
    return plain(text(key, value))
