"""What goes into the page: numbers that JSON has, texts of bounded length, and JSON that HTML cannot misread."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tlresearch.results.text import one_line

CHARACTERS = 160
"""So long may a text be; a label of a whole paragraph is cut with "…"."""

DIGITS = 6
"""Significant digits of a number that is only drawn."""

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}

T = TypeVar("T")


def number(value: Any) -> float | int | None:
    """The number, None for everything else: texts, NaN, infinities, truth values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def rounded(value: Any) -> float | int | None:
    """The number with few digits, as it is drawn."""
    found = number(value)
    return float(f"{found:.{DIGITS}g}") if isinstance(found, float) else found


def text(value: Any, most: int = CHARACTERS) -> str:
    """Any value as one bounded line; lists as one would type them."""
    if isinstance(value, str):
        return one_line(value, most)
    if isinstance(value, Sequence):
        return one_line(f"[{','.join(str(part) for part in value[:most])}]", most)
    return "" if value is None else one_line(str(value), most)


def numbers(values: Any) -> dict[str, float | int]:
    """Those entries of a mapping that are numbers."""
    pairs = values.items() if isinstance(values, Mapping) else ()
    return {text(name): found for name, value in pairs if (found := number(value)) is not None}


def thin(values: Sequence[T], most: int) -> list[T]:
    """Up to `most` of the values (at least 2), evenly spread, with the first and the last."""
    if len(values) <= most:
        return list(values)
    last = len(values) - 1
    return [values[i * last // (most - 1)] for i in range(most)]


def embedded(data: Mapping[str, Any]) -> str:
    """JSON for a script element: without a character that ends it or opens a comment, and in ASCII.

    Raises ValueError for a number that is not finite: a browser's JSON has none.
    """
    written = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return "".join(_UNSAFE.get(character, character) for character in written)
