"""When Python looks for garbage: reference cycles that nothing reaches any more."""

from __future__ import annotations

import gc

_postponed = False


def postpone() -> None:
    """No search until `resume`. Among millions of objects that stay, such as torch's, it takes an eighth of a start."""
    global _postponed
    if gc.isenabled():
        gc.disable()
        _postponed = True


def resume() -> None:
    """The search goes on, if it was `postpone` that ended it."""
    global _postponed
    if _postponed:
        gc.enable()
        _postponed = False
