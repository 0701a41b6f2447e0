"""A linear layer that is solved for, not trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Solved(nn.Module):
    """W z + b in float32. Nothing is learnt; W = 0 and b = 0 until it is solved.

    classes: outputs that no row has been seen of get the lowest value there is.
    weight: (C, D); bias: (C,); seen: (C,) bool.
    """

    weight: Tensor
    bias: Tensor
    seen: Tensor

    def __init__(self, features: int, outputs: int, *, classes: bool = True) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("weight", torch.zeros(outputs, features))
        self.register_buffer("bias", torch.zeros(outputs))
        self.register_buffer("seen", torch.zeros(outputs, dtype=torch.bool))

    def forward(self, z: Tensor) -> Tensor:
        """(B, D) → (B, C)."""
        outputs = F.linear(z.float(), self.weight, self.bias)
        return outputs if not self.classes else outputs.masked_fill(~self.seen, torch.finfo(outputs.dtype).min)

    def set(self, weight: Tensor, bias: Tensor, seen: Tensor) -> None:
        """Takes over a solution."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        self.seen.copy_(seen)

    def grow(self, outputs: int) -> None:
        """More outputs, not seen yet."""
        more = outputs - len(self.bias)
        for name in ("weight", "bias", "seen"):
            old: Tensor = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_zeros(more, *old.shape[1:])]))
