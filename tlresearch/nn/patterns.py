"""Regular expressions that choose among names: one that chooses nothing, or all there is, is a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tlresearch.config.errors import fail

EXAMPLES = 8
"""Names that a message shows."""


def matching(key: str, pattern: str, names: Iterable[str], what: str, *, instead: str = "") -> set[str]:
    """The names in which the regular expression `pattern` is found (`re.search`).

    key: of the option; what: "bias of the backbone" …, for the message.
    instead: what to do in place of a pattern that matches every name; "" = that is no mistake.
    Raises ConfigError where it is no regular expression, matches nothing, or everything with `instead`.
    """
    there = list(names)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        fail(key, pattern, f"is no regular expression: {error}")
    found = {name for name in there if expression.search(name)}
    if not found:
        more = " …" if len(there) > EXAMPLES else ""
        fail(key, pattern, f"matches no {what}; there are {len(there)}: {', '.join(there[:EXAMPLES])}{more}")
    if instead and len(found) == len(there):
        fail(key, pattern, f"matches every {what}; {instead}")
    return found
