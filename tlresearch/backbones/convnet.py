"""A small convolutional network for small images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone, pixels
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import Weights
from tlresearch.nn.checkpoints import load_plain
from tlresearch.nn.images import fixed_shape, row_to_pixels, shift


@register("backbone", "convnet")
class ConvNet(Backbone):
    """Blocks of 3 × 3 convolution, BatchNorm and ReLU; the width doubles and the image halves from block to block.

    Pixels are scaled from 0 … 255 to [−1, 1]. Features: the mean over the places of the last block (B, D) with
    D = width · 2^(layers − 1); tokens are the places themselves (B, H · W, D).

    Args:
        width: channels of the first block, at least 1.
        layers: number of blocks, at least 1.
        random_crop: in training, images are moved by up to so many pixels either way, edges repeated; 0 = none.
        image_size: images are resized to this many pixels a side; null = the data's own size, which then must be one.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    class_token = False  # tokens are places
    learning_rate: ClassVar[float] = 2e-3

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        *,
        width: int = 32,
        layers: int = 3,
        random_crop: int = 1,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        require(width >= 1, "width", width, "an integer of at least 1")
        require(layers >= 1, "layers", layers, "an integer of at least 1")
        self.shape = fixed_shape(spec, image_size)
        side = min(self.shape[1:])
        require(0 <= random_crop < side, "random_crop", random_crop, f"an integer of 0 … {side - 1}")
        self.random_crop = random_crop
        self.feature_dim = width * 2 ** (layers - 1)
        channels = [self.shape[0]] + [width * 2**i for i in range(layers)]
        self.layers = nn.Sequential()
        for i, (inputs, outputs) in enumerate(pairwise(channels)):
            stride = 2 if i > 0 and side > 2 else 1
            side = -(-side // stride)
            self.layers.append(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
                )
            )
        self.fresh = load_plain(self, weights, "convnet")

    def forward(self, x: Inputs) -> Features:
        """One token a place of the last feature map; `pooled` is their mean."""
        tokens = self.layers(pixels(x)).flatten(2).transpose(1, 2)
        return Features(tokens, tokens.mean(1), None)

    def blocks(self) -> list[nn.Module]:
        """The convolutional layers, shallow → deep."""
        return list(self.layers)

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Makes a row's image a tensor of the network's input shape."""
        return row_to_pixels(self.shape)

    def transform(self, x: Inputs, split: str) -> Tensor:
        """Shifts training images at random where `random_crop` says so; scales pixels to [-1, 1]."""
        images = pixels(x)
        if split == "train" and self.random_crop:
            images = shift(images, self.random_crop)
        return images.float() / 127.5 - 1
