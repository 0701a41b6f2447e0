"""Who runs a run: a lock file in its folder, held by one live process of all machines that share the store.

Made with O_CREAT | O_EXCL, which is atomic on NFS too. On the owner's machine its process number and start time say
whether it lives; elsewhere its heartbeat does, a touch of the file every BEAT seconds, read by the file server's clock.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tlresearch.config.errors import ConfigError, Problem

LOCK = "lock"
BEAT = 10.0
"""Seconds between two touches of a lock by its owner."""
EXPIRY = 120.0
"""Seconds without a touch after which another machine takes the owner for dead."""


class Busy(ConfigError):
    """A run that a live process elsewhere is running."""


class Lock:
    """A run folder claimed by this process until `release`; a thread of its own touches the file."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._path, self._token = folder, folder / LOCK, token
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lock of {folder.name}", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Whether it is still ours: a process that was stopped for minutes is taken for dead on other machines."""
        owner = _read(self._path)
        return owner is not None and owner["token"] == self._token

    def release(self) -> None:
        """Ends the thread and removes the file; what cannot be removed is left to die with this process."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            if self.held():
                for left in self._folder.glob(f"{LOCK}.*"):  # by a process that died while it took over
                    left.unlink(missing_ok=True)
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):  # the file server may be away for a while
                if not self.held():
                    return
                os.utime(self._path)


def claim(folder: Path) -> Lock:
    """Makes the folder and its lock ours. Raises Busy where its owner lives, OSError where nothing can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = {**process(), "token": secrets.token_hex(8)}
    while not _create(folder / LOCK, owner):
        found = _read(folder / LOCK)
        if found is None:
            continue  # released at this moment
        if _lives(found, lambda: _server_time(folder)):
            raise busy(folder, found)
        if _take_over(folder, found, owner):
            break
    return Lock(folder, owner["token"])


def holder(folder: Path, *, touch: bool = True) -> dict[str, Any] | None:
    """The live owner of a run folder (host, pid …), None where there is none.

    touch: asks the file server's clock, which takes a file for a moment; otherwise nothing is written, and for owners
        on other machines this machine's clock has to be right.
    """
    owner = _read(folder / LOCK)
    clock = (lambda: _server_time(folder)) if touch else time.time
    return owner if owner is not None and _lives(owner, clock) else None


def wait(folder: Path) -> None:
    """Returns once nobody runs the folder any more."""
    for pause in pauses():
        if holder(folder) is None:
            return
        time.sleep(pause)


def pauses() -> Iterator[float]:
    """Seconds from one look at a store to the next: 0.1, then half as long again each time, 5 at most."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 1.5, 5.0)


def busy(folder: Path, owner: Mapping[str, Any]) -> Busy:
    """The error that names a folder's live owner."""
    who = f"process {owner.get('pid', '?')} on {owner.get('host', 'another machine')}"
    advice = "wait for it, or change the store or the configuration"
    return Busy(Problem("store", f"{str(folder)!r} is being run by {who}; {advice}"))


def process() -> dict[str, Any]:
    """Who this is. host; space: where process numbers mean the same; pid; started: a number may be in use again."""
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "started": _started(os.getpid())}


@cache
def _space() -> str:
    """This boot of the kernel and the namespace of its process numbers: containers may share a host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """The kernel's start time of a process; where there is no /proc, whether it exists."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # one that has ended, whose parent has not looked yet
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


def _create(path: Path, owner: Mapping[str, Any]) -> bool:
    """Whether the file was not there and is ours now."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, json.dumps(owner).encode())
    except OSError:
        path.unlink()  # a full disk must not leave a lock that says nothing
        raise
    finally:
        os.close(file)
    return True


def _read(path: Path) -> dict[str, Any] | None:
    """A lock's owner and, as `beat`, its last touch; one cut short is known by its inode. None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # opening asks the file server for its times
            text, status = file.read(), os.fstat(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return None
        raise
    try:
        owner = dict(json.loads(text))
    except (ValueError, TypeError):
        owner = {}
    return {"token": f"inode{status.st_ino}", **owner, "beat": status.st_mtime}


def _lives(owner: Mapping[str, Any], clock: Callable[[], float]) -> bool:
    here = process()
    if "pid" in owner and (owner.get("host"), owner.get("space")) == (here["host"], here["space"]):
        started = _started(int(owner["pid"]))
        return started is not None and started == owner.get("started")
    return clock() - float(owner["beat"]) < EXPIRY


def _server_time(folder: Path) -> float:
    """The clock that the times of files in `folder` are read from."""
    probe = folder / f"{LOCK}.clock.{secrets.token_hex(8)}"
    try:
        file = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError:
        return time.time()  # nothing can be written here, and so nothing claimed
    try:
        os.utime(file)
        return os.fstat(file).st_mtime
    finally:
        os.close(file)
        probe.unlink(missing_ok=True)


def _take_over(folder: Path, dead: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Puts our lock in the place of a dead one; False where another process was faster, and is seen no more.

    The right to succeed an owner is a file named after its token, which only one process can create; if that process
    dies before it has replaced the lock, the right to succeed it is a file named after its own token, and so on. Tokens
    are never used twice, so what is true of a file once read stays true: the lock is read again under the right to
    replace it.
    """
    rights, last = [], dead
    while True:
        right = folder / f"{LOCK}.after.{last['token']}"
        if _create(right, owner):
            break
        found = _read(right)
        if found is None:
            return False
        if _lives(found, lambda: _server_time(folder)):
            raise busy(folder, found)
        rights.append(right)
        last = found
    current = _read(folder / LOCK)
    if current is None or current["token"] != dead["token"]:
        right.unlink(missing_ok=True)
        return False
    os.replace(right, folder / LOCK)
    for left in rights:
        left.unlink(missing_ok=True)
    return True
