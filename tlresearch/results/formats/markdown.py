"""A comparison as a Markdown table (GitHub's), which also tools without tables can read as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tlresearch.results.formats.layout import Cell, layout


def write(comparison: Mapping[str, Any]) -> str:
    """Title, table and notes. Whatever a name holds stays text: Markdown and HTML in it are escaped."""
    table = layout(comparison)
    lines = [f"**{escape(table.title)}**", ""]
    if table.rows:
        lines += [_line([escape(name) for name in table.header]), _line(["---"] * len(table.header))]
        lines += [_line([_cell(cell) for cell in row]) for row in table.rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {escape(note)}" for note in table.notes)]) + "\n"


def escape(said: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|~&$#!^])", r"\\\1", said)


def _cell(cell: Cell) -> str:
    said = escape(cell.said)
    return f"**{said}**" if cell.best else said


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
