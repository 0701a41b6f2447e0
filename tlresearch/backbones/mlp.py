"""A multilayer perceptron on flattened inputs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone, pixels
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import Weights
from tlresearch.nn.checkpoints import load_plain
from tlresearch.nn.images import fixed_shape, row_to_pixels


@register("backbone", "mlp")
class MLP(Backbone):
    """`layers` times linear and ReLU on the flattened input; features (B, width), no tokens.

    Images are scaled from 0 … 255 to [−1, 1]; vectors are taken as they are.

    Args:
        width: units of every layer, at least 1.
        layers: at least 1; each is a block.
        dropout: probability that a unit is dropped in training, in [0, 1).
        image_size: images are resized to this many pixels a side; null = the data's own size, which then must be one.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image", "vector"})

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        *,
        width: int = 256,
        layers: int = 2,
        dropout: float = 0.0,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        require(width >= 1, "width", width, "an integer of at least 1")
        require(layers >= 1, "layers", layers, "an integer of at least 1")
        require(0 <= dropout < 1, "dropout", dropout, "a number in [0, 1)")
        self.shape = fixed_shape(spec, image_size)
        self.image = spec.modality == "image"
        self.feature_dim = width
        sizes = [prod(self.shape)] + [width] * layers
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)) for i, o in pairwise(sizes))
        )
        self.fresh = load_plain(self, weights, "mlp")

    def forward(self, x: Inputs) -> Features:
        """Flattens the input; the last layer's output is `pooled`, there are no tokens."""
        return Features(None, self.layers(pixels(x).flatten(1)), None)

    def blocks(self) -> list[nn.Module]:
        """The hidden layers, shallow → deep."""
        return list(self.layers)

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Makes a row's image or vector a tensor."""

        def vector(row: Row) -> Row:
            return {**row, "input": torch.as_tensor(row["input"], dtype=torch.float32)}

        return row_to_pixels(self.shape) if self.image else vector

    def transform(self, x: Inputs, split: str) -> Tensor:
        """Scales pixels to [-1, 1]; vectors stay as they are."""
        return pixels(x).float() / 127.5 - 1 if self.image else pixels(x)
