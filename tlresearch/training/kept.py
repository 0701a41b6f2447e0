"""What a run keeps beside its reported weights where `keep` asks for it: the last weights and the methods' states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlresearch.core.method import Method
from tlresearch.core.model import PREFIX, Model
from tlresearch.training import checkpoint

LAST = "last.safetensors"
METHODS = "methods.safetensors"


class Kept:
    """Takes the last weights when training ends, and writes when the run does. parts: the setting `keep`."""

    def __init__(self, parts: Iterable[str]) -> None:
        self.parts = frozenset(parts)
        self._last: dict[str, Tensor] = {}

    def take(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        """tensors: copies of the model's weights after the last step. Heads with a closed form are fitted later."""
        fitted = tuple(f"heads.{PREFIX}{task}." for task in model.labels if model.head(task).closed_form)
        self._last = {name: tensor for name, tensor in tensors.items() if not name.startswith(fitted)}

    def write(self, folder: Path, reported: Mapping[str, Tensor], methods: Mapping[str, Method]) -> None:
        """Writes the last weights as far as they are not the reported ones, and the methods' states."""
        differing = {n: t for n, t in self._last.items() if n not in reported or not torch.equal(t, reported[n])}
        for name in (LAST, METHODS):
            (folder / name).unlink(missing_ok=True)
        if differing:
            checkpoint.write(folder / LAST, differing, {})
        if "methods" in self.parts:
            tensors, rest = checkpoint.split_state(checkpoint.method_states(methods))
            checkpoint.write(folder / METHODS, tensors, {"rest": rest})


def read_methods(folder: Path) -> dict[str, dict[str, Any]]:
    """Method name → the state that the run in `folder` ended with."""
    tensors, extra = checkpoint.read(folder / METHODS)
    return checkpoint.join_state(tensors, extra["rest"])
