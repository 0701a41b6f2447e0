"""What is said on stderr before training, in a sweep once: a later run says only what is new of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_said: set[str] = set()


def announce(lines: Sequence[str], otherwise: str = "") -> None:
    """Prints the lines that this command has not printed yet; `otherwise` where there are none such."""
    new = [line for line in lines if line not in _said]
    for line in new or ([otherwise] if otherwise else []):
        print(line, file=sys.stderr, flush=True)
    _said.update(new)


def forget() -> None:
    """A new command begins: everything is said again."""
    _said.clear()


def speaks() -> bool:
    """Whether this process prints results: of the ranks that torchrun or Slurm started, the first one alone."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"
