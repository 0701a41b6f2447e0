"""The running statistics of BatchNorm layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from tlresearch.core.model import Model

Layer = nn.modules.batchnorm._BatchNorm


def layers(model: Model) -> list[Layer]:
    """All BatchNorm layers of the backbone."""
    return [module for module in model.backbone.modules() if isinstance(module, Layer)]


def recalibrate(model: Model, inputs: Iterable[Any], chosen: Sequence[Layer] | None = None) -> None:
    """Re-estimates running statistics as plain averages over `inputs` (label-free); ends in evaluation mode.

    chosen: the layers that are measured anew, by default every one.
    """
    measured = layers(model) if chosen is None else chosen
    if not measured:
        return
    momenta = [layer.momentum for layer in measured]
    model.eval()
    for layer in measured:
        layer.reset_running_stats()
        layer.momentum = None  # torch: a cumulative average
        layer.train()
    with torch.no_grad():
        for x in inputs:
            model(x)
    for layer, momentum in zip(measured, momenta, strict=True):
        layer.momentum = momentum
    model.eval()
