"""What the blocks of a backbone return, on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.types import Inputs


class Maps(nn.Module):
    """Sees, in training, what a backbone reads (transformed inputs) and what its blocks return; has no parameters.

    Attributes:
        inputs: of the backbone's last pass; found: depth of a block (from 1) → its activation; both until `take`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs: Inputs | None = None
        self.found: dict[int, Tensor] = {}
        self._always = self._attached = False

    def attach(self, backbone: Backbone) -> None:
        """Begins to watch; once is enough. A model that is only loaded again is never watched."""
        if self._attached:
            return
        self._attached = True
        backbone.register_forward_pre_hook(self._begin)
        for i, block in enumerate(backbone.blocks()):
            block.register_forward_hook(lambda _module, _inputs, output, depth=i + 1: self._keep(depth, output))

    def take(self) -> tuple[Inputs | None, dict[int, Tensor]]:
        """What was seen since the last time, and lets go of it."""
        seen = self.inputs, self.found
        self.inputs, self.found = None, {}
        return seen

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, evaluation is seen, too."""
        self._always = True
        try:
            yield
        finally:
            self._always = False

    def _begin(self, backbone: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.take()
        if self._always or backbone.training or torch.is_grad_enabled():
            self.inputs = inputs[0]

    def _keep(self, depth: int, output: Any) -> None:
        if self.inputs is not None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                self.found[depth] = first


def channel_dimension(activation: Tensor) -> int:
    """The dimension of the channels in (B, D), (B, L, D), (B, C, H, W) or Swin's (B, H, W, C).

    Four dimensions are channels first unless the first two of a row are equal and the last is not.
    """
    if activation.ndim != 4:
        return activation.ndim - 1
    first, second, third = activation.shape[1:]
    return 3 if first == second != third else 1


def by_channel(activation: Tensor) -> Tensor:
    """Rows, places (one at least) and channels: (B, L, C)."""
    if activation.ndim == 2:
        return activation.unsqueeze(1)
    return activation.movedim(channel_dimension(activation), -1).flatten(1, -2)
