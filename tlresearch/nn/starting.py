"""A network as it was before training moved it, without a second network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Starting:
    """Copies of what moves, as it was when a stage began; what rests is shared with the network itself.

    Memory: one copy of the trainable parameters (taken when a parameter begins to train, later ones included) and of
    the running statistics. A run keeps as much once more beside the best weights so far, and in its checkpoint.

    Attributes:
        tensors: name → copy; a method keeps it in its state.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def begin(self, module: nn.Module) -> None:
        """Forgets what was and copies what trains now; called before a stage's first step."""
        self.tensors = {n: b.detach().clone() for n, b in module.named_buffers() if b.is_floating_point()}
        self.see(module)

    def see(self, module: nn.Module) -> None:
        """Copies what has begun to train since; called before every step."""
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and name not in self.tensors:
                self.tensors[name] = parameter.detach().clone()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over the copies of an interrupted run."""
        self.tensors = dict(tensors)

    def __call__(self, module: nn.Module, *inputs: Any, below: str = "") -> Any:
        """What `module` gave for these inputs at the start: evaluation mode, no gradients, no trace.

        below: where the module's tensors are, "" for the module that `begin` saw.
        """
        tensors = {n.removeprefix(below): t for n, t in self.tensors.items() if n.startswith(below)}
        with at_rest(module), torch.no_grad():
            return torch.func.functional_call(module, tensors, inputs)


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the former modes of every part afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
