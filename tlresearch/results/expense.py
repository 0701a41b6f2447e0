"""What a run's hardware says of it: energy, and the peak memory of the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RAPL = Path("/sys/class/powercap")
"""Where Linux tells the energy counters of processors; often for root alone."""


class Energy:
    """Energy since it was made, in joules, where processor or GPU count it.

    Of the whole processor packages and the whole GPU, whatever else ran there. Counters of processors start anew after
    `max_energy_range_uj`: one such turn is seen, several within a run are not.
    """

    def __init__(self, device: torch.device, counters: Path = RAPL) -> None:
        self._device, self._counters = device, counters
        self._start = self._read()

    def joules(self) -> dict[str, float]:
        """The entries of the cost block: energy_joules_cpu, energy_joules_gpu; none of what nothing counts."""
        parts: dict[str, float] = {}
        now = self._read()
        for (part, name), before in self._start.items():
            if (part, name) in now:
                turn = 0.0
                if now[part, name] < before:
                    turn = _microjoules(self._counters / name / "max_energy_range_uj") or 0.0
                key = f"energy_joules_{part}"
                parts[key] = parts.get(key, 0.0) + (now[part, name] + turn - before) / 1e6
        return parts

    def _read(self) -> Mapping[tuple[str, str], float]:
        """(cpu or gpu, name) → microjoules. Packages alone: cores and memory lie within them."""
        found = {("cpu", f.parent.name): _microjoules(f) for f in self._counters.glob("intel-rapl:?/energy_uj")}
        found["gpu", str(self._device)] = _gpu_microjoules(self._device)
        return {key: value for key, value in found.items() if value is not None}


def _microjoules(file: Path) -> float | None:
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None


def _gpu_microjoules(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    try:
        import pynvml  # a part of nvidia-ml-py, which not everybody has
    except ImportError:
        return None
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid))) * 1e3
    except pynvml.NVMLError:  # no driver, or a GPU without a counter
        return None


def peak_device_memory(device: torch.device) -> dict[str, Any]:
    """The entry of the cost block: the most bytes that tensors occupied on the GPU at a time; none on a CPU."""
    if device.type != "cuda":
        return {}
    import torch

    return {"peak_device_memory_bytes": torch.cuda.max_memory_allocated(device)}
