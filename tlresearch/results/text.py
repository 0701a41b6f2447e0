"""Texts that came from elsewhere (labels, inputs, names of files), made fit to be shown. Imports no torch."""

from __future__ import annotations


def one_line(text: str, most: int) -> str:
    """The text on one line of up to `most` characters, without what moves the cursor or turns the reading direction."""
    part = text[: 8 * most]
    if not part.isprintable():
        part = "".join(c if c.isprintable() else " " for c in part)
    plain = " ".join(part.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
