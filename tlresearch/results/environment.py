"""Versions and hardware, for the record."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib import metadata
from typing import Any

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
