"""The gradient-reversal layer (Ganin et al., 2016, arXiv:1505.07818, eq. 17–18)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * -ctx.factor, None


def reverse_gradient(x: Tensor, factor: float) -> Tensor:
    """R(x) = x forwards, dR/dx = −factor · I backwards. x: any shape; factor: λ ≥ 0."""
    reversed_: Tensor = _Reversal.apply(x, factor)
    return reversed_
