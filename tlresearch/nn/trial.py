"""Inputs to try a network on before any data is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.rows import Row
from tlresearch.core.types import Inputs, Spec

TEXTS = ("a", "a b c d")
"""Of unequal length, so that one of them is padded."""


def example(backbone: Backbone, spec: Spec) -> Inputs:
    """Two rows of the modality, preprocessed and transformed as in evaluation."""
    if spec.modality == "text":
        values = list[object](TEXTS)
    elif spec.modality == "image":
        values = [torch.zeros(spec.input_shape or (3, 64, 64), dtype=torch.uint8)] * 2
    else:
        assert spec.input_shape is not None, "vectors have one shape"
        values = [torch.zeros(spec.input_shape)] * 2
    preprocess = backbone.preprocess("test")
    rows = [Row(input=value, labels={}, domain=0, index=i, weight=1.0) for i, value in enumerate(values)]
    x = backbone.collate([preprocess(row) for row in rows]).x
    device = next(backbone.parameters()).device
    x = {name: part.to(device) for name, part in x.items()} if isinstance(x, dict) else x.to(device)
    return backbone.transform(x, "test")


@contextmanager
def evaluation(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode and computes no gradients; afterwards its modes are as before."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
