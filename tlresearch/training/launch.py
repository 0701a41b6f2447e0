"""Devices and processes: Fabric, and the ranks of a run on several devices."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from tlresearch.config.budget import Spent
from tlresearch.config.errors import ConfigError, Problem, fail
from tlresearch.config.processes import within_ranks
from tlresearch.results.lock import Busy

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def check_devices(config: Mapping[str, Any]) -> None:
    """Refuses an accelerator that is not there, more devices than there are, and half precision on a CPU."""
    accelerator, devices = config["accelerator"], config["devices"]
    if accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
        mps = " or mps" if torch.backends.mps.is_available() else ""
        fail("accelerator", accelerator, f"this machine has none; allowed here: auto, cpu{mps}")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        fail("accelerator", accelerator, "this machine has none; allowed here: auto, cpu")
    there = torch.cuda.device_count()
    if accelerator != "cpu" and there and isinstance(devices, int) and devices > there:
        fail("devices", devices, f"this machine has {there}; give at most that many")
    if config["precision"] == "16-mixed" and (accelerator == "cpu" or not (there or torch.backends.mps.is_available())):
        fail("precision", config["precision"], "a CPU cannot train in it; use bf16-mixed or 32-true")
    if config["num_nodes"] > 1 and not within_ranks():
        example = "torchrun --nnodes 2 --nproc-per-node 4 -m tlresearch train …"
        fail("num_nodes", config["num_nodes"], f"start every node's processes with torchrun or srun, e.g. {example}")


def flush_denormals() -> None:
    """Numbers below 1e-38 count as 0: the gradients and moments of certain predictions, which CPUs multiply slowly.

    Threads take this over when they start: to be called before the first operation that is spread over several.
    """
    torch.set_flush_denormal(True)


def device_count(config: Mapping[str, Any]) -> int:
    """Devices of a run on each node: `devices`, or with "auto" every CUDA device (1 without any, and on the CPU)."""
    if config["devices"] != "auto":
        return int(config["devices"])
    return max(torch.cuda.device_count(), 1) if config["accelerator"] != "cpu" else 1


def needs_ranks(config: Mapping[str, Any]) -> bool:
    """Whether this process has to start others, one a device."""
    return device_count(config) > 1 and not within_ranks()


def make_fabric(config: Mapping[str, Any]) -> Fabric:
    """Fabric, launched: its own launcher would repeat the command line, so processes are there before it."""
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banner between our messages
    chosen = {key: config[key] for key in ("accelerator", "num_nodes", "strategy", "precision")}
    try:
        fabric = Fabric(devices=device_count(config), **chosen)
    except (ImportError, MisconfigurationException, RuntimeError, ValueError) as error:
        told = ", ".join(f"{key}={value}" for key, value in chosen.items())
        raise ConfigError(f"{told} do not go together, or not on this machine: {error}") from error
    fabric.launch()
    if not torch.cuda.is_available():  # Fabric has torch ask the driver's library, which is looked for anew each time
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"  # and an optimizer's step asks several times
    _tune_memory()
    return fabric


@cache
def _tune_memory() -> None:
    """Once in a process, when all libraries are there: what they hold is no longer searched for garbage.

    And C's allocator keeps blocks of up to 31 MB for the next step instead of giving each back to the system: glibc
    maps a block anew, page by page, until it has seen a larger one being freed; 32 MB is its limit.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)  # or else extensions report at the end what they hold as leaked
    torch.empty(31 * 2**20, dtype=torch.uint8)


def start_ranks(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any] | None:
    """Starts one process a device on the resolved configuration file and waits; if one dies, all end.

    A user's mistake found in the ranks and Spent are raised here as they would be in one process; another error is
    returned (error, traceback, resumable), that of the rank that failed first.
    """
    count = device_count(config)
    with tempfile.TemporaryDirectory(prefix="tlresearch-") as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"config": dict(config), "overrides": list(overrides)}))
        shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
        shared.setdefault("OMP_NUM_THREADS", str(max(torch.get_num_threads() // count, 1)))
        command = [sys.executable, "-m", "tlresearch.rank", str(job)]
        processes = [
            subprocess.Popen(
                command,
                env={**shared, "LOCAL_RANK": str(i), "RANK": str(i), "WORLD_SIZE": str(count)},
                stdout=None if i == 0 else subprocess.DEVNULL,
                stderr=None if i == 0 else subprocess.DEVNULL,
            )
            for i in range(count)
        ]
        try:
            _wait(processes)
        finally:
            _end(processes)
        mistakes = Path(folder) / "mistakes.json"
        if mistakes.exists():
            told = json.loads(mistakes.read_text())
            kind = Busy if told["busy"] else ConfigError
            raise kind(*(Problem(*problem) for problem in told["problems"]))
        spent = Path(folder) / "spent.json"
        if spent.exists():
            raise Spent(*json.loads(spent.read_text()))
        failures = [json.loads(file.read_text()) for file in Path(folder).glob("failure*.json")]
        first: dict[str, Any] | None = min(failures, key=lambda failure: failure["time"], default=None)
        return first


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until all have ended, or one has ended badly."""
    waiting = list(processes)
    while waiting:
        for process in list(waiting):
            try:
                code = process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            waiting.remove(process)
            if code:
                return


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def end_ranks() -> None:
    """Leaves the process group, so that the process can end (or run on alone)."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Only deterministic operations inside; an operation that has no such form is an error."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
