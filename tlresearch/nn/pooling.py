"""Poolings that learn: many features of a row → one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEARNT = frozenset({"attention", "gem"})


class AttentionPooling(nn.Module):
    """Σ_l a_l x_l with a = softmax over the real tokens of q · x_l / √D, q (D,) learnt; q = 0 at the start: the mean.

    One query, as of Yang et al. (2016, Hierarchical Attention Networks, eq. 6 and 7) without their hidden layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(features))

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Tokens (B, L, D), keep (B, L) bool → (B, D)."""
        scores = (tokens @ self.query.to(tokens.dtype)) / tokens.shape[2] ** 0.5
        weights = scores.float().masked_fill(~keep, -torch.inf).softmax(1).to(tokens.dtype)
        pooled: Tensor = (weights.unsqueeze(2) * tokens).sum(1)
        return pooled


class GeM(nn.Module):
    """(mean over the real tokens of max(x, ε)^p)^(1/p), p learnt, 3 at the start, ε = 1e-6; p = 1: the mean.

    Generalised mean (Radenović et al., 2018, arXiv:1711.02512, eq. 3), made for maps that a rectifier has left: of
    features that can be negative, as those of most transformers, only the positive part counts.
    """

    EPSILON = 1e-6

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(3.0))

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Tokens (B, L, D), keep (B, L) bool → (B, D)."""
        weights = keep.unsqueeze(2).float()
        positive = tokens.float().clamp(min=self.EPSILON).masked_fill(~keep.unsqueeze(2), self.EPSILON)
        largest = positive.amax(1, keepdim=True).detach()  # whose powers could overflow
        mean = ((positive / largest).pow(self.power) * weights).sum(1) / weights.sum(1).clamp(min=1)
        return (largest.squeeze(1) * mean.pow(1 / self.power)).to(tokens.dtype)


def make(pooling: str, features: int) -> nn.Module:
    """One of `LEARNT`, for tokens of D features."""
    return AttentionPooling(features) if pooling == "attention" else GeM()
