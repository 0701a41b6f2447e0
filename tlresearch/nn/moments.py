"""First and second moments of features and targets, from which linear heads are solved; rows are not kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Moments(nn.Module):
    """Sums over all rows (z, y) ever seen, in float64: D² + C D numbers, however many rows there are.

    gram: Σ z zᵀ (D, D); total: Σ z (D,); rows: their number (); cross: Σ y zᵀ (C, D); sums: Σ y (C,).
    """

    gram: Tensor
    total: Tensor
    rows: Tensor
    cross: Tensor
    sums: Tensor

    def __init__(self, features: int, targets: int) -> None:
        super().__init__()
        for name, shape in (
            ("gram", (features, features)),
            ("total", (features,)),
            ("rows", ()),
            ("cross", (targets, features)),
            ("sums", (targets,)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def add(self, z: Tensor, y: Tensor) -> None:
        """Rows of features (B, D) and targets (B, C)."""
        z, y = z.double(), y.double()
        self.gram += z.T @ z
        self.total += z.sum(0)
        self.rows += len(z)
        self.cross += y.T @ z
        self.sums += y.sum(0)

    def grow(self, targets: int) -> None:
        """More targets, which no row has had so far."""
        more = targets - len(self.sums)
        self.cross = torch.cat([self.cross, self.cross.new_zeros(more, self.cross.shape[1])])
        self.sums = torch.cat([self.sums, self.sums.new_zeros(more)])
