"""A comparison as a table of cells, which the terminal, Markdown and LaTeX write each in their own way."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from tlresearch.results.keys import named, sort_key, text

STALE, ORACLE, NEGATIVE = "*", "†", "‡"
"""Marks behind a number."""

MARKS = {
    STALE: "made by other code than today's",
    ORACLE: "oracle: chosen with labels of the test rows",
    NEGATIVE: "negative transfer: in the mean worse than scratch or source-only",
}


class Cell(NamedTuple):
    """What a place of the table says. best: better than all others compared, by the corrected test."""

    said: str
    best: bool = False


class Layout(NamedTuple):
    """A table: what it is of, its columns, its rows, and what has to be said below it."""

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str]


def layout(comparison: Mapping[str, Any]) -> Layout:
    """A row a group; under a pivot a row for each combination of the other keys and a column for each value."""
    groups = comparison["groups"]
    shared = "".join(f", {key} {text(key, value)}" for key, value in comparison["shared"].items())
    title = plain(f"{comparison['metric']} ({comparison['better']} is better), mean ± half the 95 % interval{shared}")
    header, rows = _pivoted(comparison) if comparison["pivot"] else _flat(comparison)
    filled = [i for i in range(len(header)) if any(row[i].said for row in rows)]
    used = {mark for g in groups for mark in _marks(g)}
    marked = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in used]
    bold = ["bold: better than every other group compared, by the corrected test"] if any(
        g["best"] for g in groups) else []  # fmt: skip
    return Layout(
        title,
        [plain(header[i]) for i in filled],
        [[row[i] for i in filled] for row in rows],
        [plain(note) for note in (*marked, *bold, *_legend(comparison), *_ranked(comparison), *comparison["notes"])],
    )


def plain(said: Any) -> str:
    """Text of one line without control characters: names of data sets come from anywhere."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") else c for c in str(said))


def _flat(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[Cell]]]:
    keys = comparison["by"]
    select = comparison["select"] or {}
    over, selected = select.get("over", []), [select["metric"]] if select else []
    header = [
        *keys, *over, *selected, comparison["metric"], "sd", "bootstrap 95 %", "n", "Δ best", "p (Holm)",
        "p (Wilcoxon)", "d_z", "more seeds", "rank", "trainable", "train s", "selected by",
    ]  # fmt: skip
    rows = []
    for g in comparison["groups"]:
        against = g["against_best"] or {}
        chosen = g["chosen"] or {}
        said = [
            *(text(key, g["cells"].get(key)) for key in keys),
            *(text(key, chosen.get(key)) for key in over),
            *(_selected(g) for _ in selected),
            "",
            _digits(g["deviation"]),
            "" if g["bootstrap"] is None else "[{:.4f}, {:.4f}]".format(*g["bootstrap"]),
            str(g["n"]),
            _digits(against.get("difference"), "+.4f"),
            "best" if g["best"] else _p(against.get("p_holm")),
            _p(against.get("p_wilcoxon")),
            _digits(against.get("effect"), ".2f"),
            _more(against),
            _digits(g["rank"], ".2f"),
            _digits(g["cost"].get("parameters_trainable"), ",.0f"),
            _digits(g["cost"].get("seconds_training"), ".1f"),
            _rule(g),
        ]
        cells = [Cell(plain(one)) for one in said]
        cells[len(keys) + len(over) + len(selected)] = Cell(_number(g), g["best"])
        rows.append(cells)
    return header, rows


def _pivoted(comparison: Mapping[str, Any]) -> tuple[list[str], list[list[Cell]]]:
    pivot = comparison["pivot"]
    keys = [key for key in comparison["by"] if key != pivot]
    values = sorted({text(pivot, v): v for g in comparison["groups"] for v in [g["cells"].get(pivot)]}.items(),
                    key=lambda item: sort_key(item[1]))  # fmt: skip
    places: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for g in comparison["groups"]:
        row = tuple(text(key, g["cells"].get(key)) for key in keys)
        places.setdefault(row, {})[text(pivot, g["cells"].get(pivot))] = g
    rows = []
    for row, found in places.items():
        cells = [Cell(f"{_number(g)} ({g['n']}{_tested(g)})", g["best"]) if (g := found.get(value)) else Cell("-")
                 for value, _ in values]  # fmt: skip
        rules = dict.fromkeys(_rule(g) for g in found.values())
        ranks = dict.fromkeys(_digits(g["rank"], ".2f") for g in found.values())
        rows.append([*(Cell(plain(one)) for one in row), *cells, Cell(", ".join(ranks)), Cell(plain("; ".join(rules)))])
    said = "n, p" if any(_tested(g) for g in comparison["groups"]) else "n"
    return [*keys, *(plain(f"{named(pivot, value)} ({said})") for _, value in values), "rank", "selected by"], rows


def _tested(g: Mapping[str, Any]) -> str:
    """The corrected p against the best of the same column and data; that one has none."""
    against = g["against_best"]
    return "" if against is None else f", {'?' if against['p_holm'] is None else format(against['p_holm'], '.2g')}"


def _number(g: Mapping[str, Any]) -> str:
    half = "" if g["interval"] is None else f" ± {(g['interval'][1] - g['interval'][0]) / 2:.4f}"
    return f"{g['mean']:.4f}{half}{''.join(_marks(g))}"


def _selected(g: Mapping[str, Any]) -> str:
    """The score that a group's settings were chosen by, and how many others have the same."""
    ties = f" ({g['ties']} more as good)" if g["ties"] else ""
    return f"{_digits(g['selected_value'])}{ties}"


def _marks(g: Mapping[str, Any]) -> list[str]:
    present = {STALE: g["stale"], ORACLE: g["oracle"], NEGATIVE: g["negative_transfer"]}
    return [mark for mark, there in present.items() if there]


def _rule(g: Mapping[str, Any]) -> str:
    return f"{g['selection']}{', oracle' if g['oracle'] else ''}, {g['tried']} tried"


def _digits(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def _p(value: float | None) -> str:
    return "" if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _more(against: Mapping[str, Any]) -> str:
    if not against or against["effect"] is None:
        return "" if not against else "?"
    return ">1000" if against["more_seeds"] is None else str(against["more_seeds"])


def _legend(comparison: Mapping[str, Any]) -> list[str]:
    """What the p of a pivoted table's cells is, where there is one."""
    if not comparison["pivot"] or not any(_tested(g) for g in comparison["groups"]):
        return []
    return ["p: against the best of the same column on the same data, which has none; ? where it cannot be said"]


def _ranked(comparison: Mapping[str, Any]) -> list[str]:
    ranking = comparison["ranks"]
    return [] if ranking is None else [f"rank: the average over {len(ranking['over'])}: {'; '.join(ranking['over'])}"]
