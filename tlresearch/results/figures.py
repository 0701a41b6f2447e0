"""What all pictures share: a figure without matplotlib's global state, colours that everybody can tell apart, files."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's palette for colour-blind readers, the yellow replaced: it is hardly seen on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(sheet: Figure, stem: Path) -> list[Path]:
    """Writes stem.png and stem.svg, each in one step and the same bytes for the same figure."""
    from matplotlib import rc_context

    stem.parent.mkdir(parents=True, exist_ok=True)
    files = []
    with rc_context({"svg.hashsalt": "tlresearch"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for a letter the font lacks
        for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            file = stem.with_name(f"{stem.name}.{ending}")
            partial = file.with_name(f"{file.name}.partial")
            sheet.savefig(partial, format=ending, dpi=150, metadata=metadata)
            os.replace(partial, file)
            files.append(file)
    return files
