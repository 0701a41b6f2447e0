"""The store: one folder a run, its record written atomically, one process at a time."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlresearch.config.errors import ConfigError, Problem

SCHEMA = 2
RECORD = "run.json"


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run folder, None where there is none. A run whose process is gone reads as interrupted."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return {"identity": folder.name, "status": "failed", "error": f"unreadable record: {error}", "schema": SCHEMA}
    if record.get("schema", 0) > SCHEMA:
        raise ConfigError(
            Problem(
                "store",
                f"{str(folder)!r} was written by a newer tlresearch (schema {record['schema']}, "
                f"this one reads up to {SCHEMA}); upgrade tlresearch or choose another store",
            )
        )
    if record.get("status") == "running" and not alive(record.get("process", {})):
        record["status"] = "interrupted"
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replaces the record in one step."""
    partial = folder / (RECORD + ".partial")
    with open(partial, "w") as file:
        json.dump(record, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / RECORD)


def seconds_before(folder: Path) -> float:
    """What an interrupted run of this folder has taken already (s), as far as it could write it down; otherwise 0."""
    record = read_record(folder)
    if record is None or record.get("status") != "interrupted":
        return 0.0
    return float(record.get("cost", {}).get("seconds_total", 0.0))


def records(store: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run of a store with its record, in order of identity."""
    for folder in sorted(store.iterdir()) if store.is_dir() else ():
        if (folder / RECORD).exists():
            record = read_record(folder)
            if record is not None:
                yield folder, record


def process() -> dict[str, Any]:
    """Who writes: host, process and when it started, so that a reused number is not taken for the same process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def alive(owner: Mapping[str, Any]) -> bool:
    """Whether a record's owner still runs; on another host nobody can tell, so it counts as running."""
    if not owner:
        return False
    if owner.get("host") != socket.gethostname():
        return True
    started = _started(int(owner["pid"]))
    return started is not None and started == owner.get("started")


def _started(pid: int) -> str | None:
    """The kernel's start time of a process; where there is no /proc, whether it exists."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "running"
    return "running"


def writable(store: Path) -> None:
    """Refuses a store that cannot be written to, before anything is computed."""
    home = store
    while not home.exists():
        home = home.parent
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ConfigError(
            Problem("store", f"{str(store)!r}: cannot be written to; give a folder of your own (store=PATH)")
        )
