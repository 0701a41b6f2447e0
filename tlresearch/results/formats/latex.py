"""A comparison as a LaTeX document with a booktabs table: pdflatex compiles it as it is, a paper takes the table."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from tlresearch.results.formats.layout import Cell, layout

_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "{''}", "'": "{'}", "`": "{`}", "-": "{-}", "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "†": r"\dag{}", "‡": r"\ddag{}", "Δ": r"$\Delta$",
    "λ": r"$\lambda$", "·": r"$\cdot$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "→": r"$\to$",
    "…": r"\dots{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ł": r"\l{}",
    "‘": "`", "’": "'", "“": "``", "”": "''",
}  # fmt: skip

_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING RING ABOVE}": "r", "\N{COMBINING CARON}": "v", "\N{COMBINING MACRON}": "=",
}  # fmt: skip

_DOCUMENT = r"""\documentclass{article}
\usepackage[landscape,margin=1cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\begin{table}
\centering
\caption{%s}
%s
\end{table}
\end{document}
"""

ROWS = 40
"""A page holds so many; what is longer goes on in another tabular."""


def write(comparison: Mapping[str, Any]) -> str:
    """A whole document; of a paper's own the preamble has to hold booktabs and graphicx."""
    table = layout(comparison)
    columns = "l" * len(table.header)
    header = " & ".join(escape(name) for name in table.header)
    body = [" & ".join(_cell(cell) for cell in row) + r" \\" for row in table.rows]
    parts = [
        "\n".join(
            [
                rf"\resizebox{{\ifdim\width>\linewidth\linewidth\else\width\fi}}{{!}}{{\begin{{tabular}}{{{columns}}}",
                r"\toprule", rf"{header} \\", r"\midrule", *body[start : start + ROWS], r"\bottomrule",
                r"\end{tabular}}",
            ]
        )
        for start in range(0, len(body), ROWS)
    ]  # fmt: skip
    notes = "".join(f"\n\n\\raggedright\\footnotesize {escape(note)}" for note in table.notes)
    return _DOCUMENT % (escape(table.title), "\n\\end{table}\n\\begin{table}\n\\centering\n".join(parts) + notes)


def escape(said: str) -> str:
    """Text that pdflatex sets as it is; a letter that its fonts lack becomes its code point, [U+540D]."""
    return "".join(_letter(letter) for letter in said)


def _letter(letter: str) -> str:
    if letter in _ESCAPED:
        return _ESCAPED[letter]
    if letter.isascii():
        return letter
    parts = unicodedata.normalize("NFD", letter)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return rf"\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"{{[}}U+{ord(letter):04X}{{]}}"


def _cell(cell: Cell) -> str:
    said = escape(cell.said)
    return rf"\textbf{{{said}}}" if cell.best else said
