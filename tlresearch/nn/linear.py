"""Linear layers that get more outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def grown(layer: nn.Linear, outputs: int) -> nn.Linear:
    """A layer with `outputs` outputs: the first rows are the old ones bit by bit, the others newly initialised."""
    device, dtype = layer.weight.device, layer.weight.dtype
    wider = nn.Linear(layer.in_features, outputs, bias=layer.bias is not None, device=device, dtype=dtype)
    with torch.no_grad():
        for new, old in zip(wider.parameters(), layer.parameters(), strict=True):
            new[: layer.out_features] = old
            new.requires_grad_(old.requires_grad)
    return wider


def check_growth(old: Sequence[str], new: Sequence[str]) -> None:
    """Outputs can only be appended: the old labels must come first, in their order."""
    assert tuple(new[: len(old)]) == tuple(old), f"a head cannot grow from labels {tuple(old)} to {tuple(new)}"
