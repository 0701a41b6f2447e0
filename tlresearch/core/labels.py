"""Columns of labels: class ids are integers, targets of a regression floats, soft labels a row of floats each."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from tlresearch.core.types import IGNORE


def blank(y: Tensor) -> float:
    """What stands for "unlabelled" in a column like `y`: IGNORE among integers, NaN among targets, zeros if soft."""
    if not y.is_floating_point():
        return IGNORE
    return math.nan if y.ndim == 1 else 0.0


def labelled(y: Tensor) -> Tensor:
    """Which rows of a column (N,) or (N, C) have a label, (N,) bool."""
    if not y.is_floating_point():
        return y != IGNORE
    return ~y.isnan() if y.ndim == 1 else y.sum(1) > 0


def smoothed(y: Tensor, classes: int, amount: float) -> Tensor:
    """Class ids (N,) or soft labels (N, C) → soft labels (N, C), (1 − amount) · y + amount / C; unlabelled rows 0."""
    if not y.is_floating_point():
        known = labelled(y)
        y = F.one_hot(y.where(known, 0), classes) * known.unsqueeze(1)
    return (1 - amount) * y + amount / classes * y.sum(1, keepdim=True)
