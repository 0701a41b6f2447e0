"""Columns of labels: class ids are integers, targets of a regression floats, soft labels a row of floats each."""

from __future__ import annotations

import math

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
