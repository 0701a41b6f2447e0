"""Tables on the terminal: drawn by rich where somebody looks, plain aligned columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

Bold = Sequence[Sequence[bool]]


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", bold: Bold | None = None
) -> None:
    """Prints the rows below their header, with the title above where one is given. bold: which cells are, if any."""
    if sys.stdout.isatty():
        _draw(header, rows, title, bold or [[False] * len(row) for row in rows])
        return
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if title:
        print(title)
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(header: Sequence[str], rows: Sequence[Sequence[str]], title: str, bold: Bold) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for name in header:
        table.add_column(name, overflow="fold")
    for row, emphasised in zip(rows, bold, strict=True):
        table.add_row(*(Text(cell, style=_style(cell, strong)) for cell, strong in zip(row, emphasised, strict=True)))
    Console().print(table)


def _style(cell: str, strong: bool) -> str:
    return "red" if cell.startswith("error: ") else "bold" if strong else ""
