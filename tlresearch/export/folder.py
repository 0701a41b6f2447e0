"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlresearch.config.errors import fail


def check_free(target: Path) -> Path:
    """Refuses a target that is in use or cannot be made; returns where to build: itself or the nearest above."""
    if target.is_dir() and any(target.iterdir()):
        fail("DIR", str(target), "is not empty; give a new folder, or empty this one")
    if target.exists() and not target.is_dir():
        fail("DIR", str(target), "is a file; give a new folder")
    home = target.absolute()
    while not home.exists():
        home = home.parent
    if not home.is_dir() or not os.access(home, os.W_OK):
        fail("DIR", str(target), f"{str(home)!r} cannot be written to; give a folder of your own")
    return home


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A hidden folder to build in; it becomes the target at the end, and goes where anything fails."""
    partial = check_free(target) / f".export.{os.getpid()}.partial"
    partial.mkdir()
    try:
        yield partial
        if target.is_dir():  # where somebody may stand, or a disk be mounted
            for part in partial.iterdir():
                part.replace(target / part.name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
