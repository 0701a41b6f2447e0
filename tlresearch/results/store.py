"""The store: one folder a run, its record written atomically by the process that holds its lock."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlresearch.config.errors import ConfigError, Problem
from tlresearch.results import lock

SCHEMA = 2
RECORD = "run.json"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run folder, None where there is none. A run whose lock is gone or dead reads as interrupted."""
    try:
        with open(folder / RECORD, "rb") as file:
            record: dict[str, Any] = _parsed(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return _unreadable(folder, str(error))
    except RecursionError:
        return _unreadable(folder, "nested too deeply")
    if not isinstance(record, dict) or not isinstance(record.get("schema", 0), int):
        return _unreadable(folder, "it is no record of a run")
    if record.get("schema", 0) > SCHEMA:
        raise ConfigError(
            Problem(
                "store",
                f"{str(folder)!r} was written by a newer tlresearch (schema {record['schema']}, "
                f"this one reads up to {SCHEMA}); upgrade tlresearch or choose another store",
            )
        )
    if record.get("status") == "running" and lock.holder(folder, touch=False) is None:
        record["status"] = "interrupted"
    return record


def _parsed(text: bytes) -> Any:
    """orjson takes a third of the time and gives equal keys as one object; json reads NaN and Infinity as well."""
    import orjson

    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


def _unreadable(folder: Path, reason: str) -> dict[str, Any]:
    return {"identity": folder.name, "status": "failed", "error": f"unreadable record: {reason}", "schema": SCHEMA}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replaces the record in one step."""
    partial = folder / (RECORD + ".partial")
    try:
        with open(partial, "w") as file:
            json.dump(record, file, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / RECORD)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def seconds_before(folder: Path) -> float:
    """What an interrupted run of this folder has taken already (s), as far as it could write it down; otherwise 0.

    For the process that holds its lock, to which a run that was killed reads as running.
    """
    record = read_record(folder)
    if record is None or record.get("status") not in ("interrupted", "running"):
        return 0.0
    return float(record.get("cost", {}).get("seconds_total", 0.0))


def folders(store: Path) -> list[Path]:
    """Every folder of a store that may hold a run, in order of identity; none where there is no store."""
    if not store.is_dir():
        return []
    with os.scandir(store) as entries:
        return [store / name for name in sorted(entry.name for entry in entries if entry.is_dir())]


def records(store: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run of a store with its record, in order of identity."""
    for folder in folders(store):
        record = read_record(folder)
        if record is not None:
            yield folder, record


def writable(store: Path) -> None:
    """Refuses a store that cannot be written to, before anything is computed."""
    home = store
    while not home.exists():
        home = home.parent
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ConfigError(
            Problem("store", f"{str(store)!r}: cannot be written to; give a folder of your own (store=PATH)")
        )
