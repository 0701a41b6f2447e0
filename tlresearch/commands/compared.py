"""`tlresearch report`: groups of runs compared, as a table or in the format of a program that reads them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.results.formats.layout import Layout, layout, plain

FORMATS = ("comparison", "csv", "markdown", "latex")

FIRST_TO_GO = (
    "p (Wilcoxon)", "bootstrap 95 %", "sd", "d_z", "more seeds", "rank", "Δ best", "p (Holm)", "train s", "trainable",
)  # fmt: skip
"""Columns that a narrow terminal leaves out, in this order: what a run costs stays longest."""

FRAME = 3
"""What the drawn table adds to the width of a column."""


def written(comparison: Mapping[str, Any], form: str) -> str:
    """The comparison as text, in one of FORMATS."""
    if form == "comparison":
        return json.dumps(comparison, indent=1, default=str, allow_nan=False) + "\n"
    from tlresearch.results.formats import csv, latex, markdown

    writers = {"csv": csv.write, "markdown": markdown.write, "latex": latex.write}
    return writers[form](comparison)


def show(comparison: Mapping[str, Any]) -> None:
    """Prints the table and what has to be said below it, runs that are not done included."""
    table = layout(comparison)
    if table.rows:
        left_out: list[str] = []
        if sys.stdout.isatty():
            table, left_out = _narrowed(table, shutil.get_terminal_size().columns)
        bold = [[cell.best for cell in row] for row in table.rows]
        print_table(table.header, [[cell.said for cell in row] for row in table.rows], table.title, bold)
        if left_out:
            print(f"no room for {', '.join(left_out)}: a wider terminal or --format csv has them")
    for line in table.notes:
        print(line)
    for run in comparison["not_done"]:
        said = " ".join(map(str, run["overrides"]))
        print(plain(f"{run['status']}: {run['folder']}  {said}  {run['error'] or ''}").rstrip())


def _narrowed(table: Layout, room: int) -> tuple[Layout, list[str]]:
    """The table with as many columns as there is room for, and the names of the others."""
    left_out: list[str] = []
    for name in FIRST_TO_GO:
        widths = [max(len(row[i].said) for row in table.rows) for i in range(len(table.header))]
        wide = 1 + sum(max(width, len(head)) + FRAME for width, head in zip(widths, table.header, strict=True))
        if wide <= room:
            break
        if name in table.header:
            at = table.header.index(name)
            left_out.append(name)
            rows = [[*row[:at], *row[at + 1 :]] for row in table.rows]
            table = table._replace(header=[*table.header[:at], *table.header[at + 1 :]], rows=rows)
    return table, left_out
