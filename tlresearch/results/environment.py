"""Versions, hardware and the commit, for the record."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PACKAGES = (
    "tlresearch",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "peft",
    "lightning-fabric",
    "hydra-core",
    "datasets",
    "numpy",
    "scikit-learn",
)


@cache
def versions() -> dict[str, str]:
    """Installed versions of what a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> dict[str, Any]:
    """Processor, its cores and torch's threads, and the accelerators."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def device(fabric: Fabric) -> dict[str, Any]:
    """Where a run computes. type: cpu, cuda, mps …; name of the GPU; count over all processes; threads of each."""
    import torch

    kind = fabric.device.type
    name = torch.cuda.get_device_name(fabric.device) if kind == "cuda" else None
    return {"type": kind, "name": name, "count": fabric.world_size, "threads": torch.get_num_threads()}


def device_line(found: Mapping[str, Any], accelerator: str, precision: str) -> str:
    """What `device` found, for people, and whether anybody asked for it."""
    kind, name, count = found["type"], found["name"], found["count"]
    what = f"{kind}: {name}" if name else kind
    what += f" x {count}" if count > 1 else ""
    what += f", {found['threads']} thread{'s' * (found['threads'] > 1)}" if kind == "cpu" else ""
    if accelerator != "auto":
        why = f"as accelerator={accelerator} says"
    elif kind == "cpu":
        why = "no GPU found (accelerator=cuda or mps insists on one)"
    else:
        why = "found by itself (accelerator=cpu does without)"
    return f"{what}, precision {precision}; {why}"


@cache
def commit() -> str | None:
    """The commit of the working folder's repository as this process found it, with "+" where it has changes."""
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
