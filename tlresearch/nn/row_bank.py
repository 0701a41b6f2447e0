"""Rows of features with their labels, kept in a module's state however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import require


class RowBank(nn.Module):
    """features: (N, D) float32; labels: (N,), class ids or numbers. limit: the most rows."""

    features: Tensor
    labels: Tensor

    def __init__(self, features: int, dtype: torch.dtype, limit: int) -> None:
        super().__init__()
        require(limit >= 1, "most_rows", limit, "an integer of at least 1")
        self.limit = limit
        self.register_buffer("features", torch.zeros(0, features))
        self.register_buffer("labels", torch.zeros(0, dtype=dtype))

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, rows: int) -> None:
        """Refuses more rows than the limit."""
        message = f"at least {rows}, the rows to keep; or choose a head that keeps none (ridge, lda)"
        require(rows <= self.limit, "most_rows", self.limit, message)

    def add(self, z: Tensor, y: Tensor) -> None:
        """More rows (B, D) and labels (B,)."""
        self.check(len(self) + len(y))
        self.features = torch.cat([self.features, z.to(self.features)])
        self.labels = torch.cat([self.labels, y.to(self.labels)])

    def resize(self, rows: int) -> None:
        """Room for so many rows, which are loaded next."""
        if rows != len(self):
            self.features = self.features.new_zeros(rows, self.features.shape[1])
            self.labels = self.labels.new_zeros(rows)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}labels" in state_dict:
            self.resize(len(state_dict[f"{prefix}labels"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def make_room(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives every bank inside the number of rows that it has in a state, by name, that is copied next."""
    for name, bank in module.named_modules():
        if isinstance(bank, RowBank) and f"{name}.labels" in tensors:
            bank.resize(len(tensors[f"{name}.labels"]))
