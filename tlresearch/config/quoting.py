"""File names and words that Hydra's grammar has no place for, quoted for it: `dataset.path=Fotos (1)/Äpfel`."""

from __future__ import annotations

import os
import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:,=~\-\[\]{}+|$ ]*")


def quote(override: str) -> str:
    """The override as it is where Hydra can read it; otherwise its value in quotes, if that is what was meant.

    It is where the value names an existing file, or where nothing but letters outside ASCII is in the way.
    """
    key, assigned, value = override.partition("=")
    if not assigned or _PLAIN.fullmatch(value) or _is_text(override):
        return override
    letters = re.sub(r"[^\W\d_]", "x", value)
    if (not value.isascii() and letters.isascii() and _is_text(f"{key}={letters}")) or os.path.exists(value):
        escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
        return f"{key}='{escaped}'"
    return override


def _is_text(override: str) -> bool:
    """Whether Hydra reads it as one value, a text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return isinstance(OverridesParser.create().parse_override(override).value(), str)
    except HydraException:
        return False
