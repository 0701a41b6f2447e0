"""The index on disk: what each file registers, valid while the file's time of change and size stay the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Protocol, TypeVar

from tlresearch.config import option_types, reader
from tlresearch.config.reader import Entry, Option


class HasFile(Protocol):
    """What is written in a file."""

    @property
    def file(self) -> Path:
        """The file it is written in."""
        ...


S = TypeVar("S", bound=HasFile)


def location() -> Path:
    """index.json in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlresearch" / "index.json"


def read_all(sources: Sequence[S]) -> Iterator[tuple[S, list[Entry]]]:
    """Every source with what its file registers; unchanged files come from the cache."""
    readers = "/".join(_stamp(Path(str(module.__file__))) for module in (option_types, reader))
    known = _load(readers)
    fresh = {}
    for source in sources:
        path, stamp = str(source.file), _stamp(source.file)
        cached = known.get(path, {})
        if cached.get("stamp") == stamp:
            yield source, [_entry(fields) for fields in cached["entries"]]
        else:
            entries = reader.read(source.file)
            fresh[path] = {"stamp": stamp, "entries": entries}
            yield source, entries
    if fresh:
        _save(readers, {path: kept for path, kept in known.items() if os.path.exists(path)} | fresh)


def _stamp(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return ""
    return f"{status.st_mtime_ns}:{status.st_size}"


def _entry(fields: list[Any]) -> Entry:
    entry = Entry(*fields)
    options = tuple(Option(*option[:-1], tuple(option[-1])) for option in entry.options)
    wiring, conflicts, defines = map(tuple, (entry.wiring, entry.conflicts, entry.defines))
    return entry._replace(options=options, wiring=wiring, conflicts=conflicts, defines=defines)


def _load(readers: str) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(location().read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = content["files"] if content["readers"] == readers else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # absent, or written by something else: it is only a cache
    return files


def _save(readers: str, files: dict[str, dict[str, Any]]) -> None:
    place = location()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=place.parent, encoding="utf-8", delete=False) as temporary:
            json.dump({"readers": readers, "files": files}, temporary)
        os.replace(temporary.name, place)
    except OSError:
        return  # a read-only home only costs the time to read again
