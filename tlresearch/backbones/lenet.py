"""The convolutional part of LeNet-5, with the sizes of domain-adversarial training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone, pixels
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import Weights
from tlresearch.nn.checkpoints import load_plain
from tlresearch.nn.images import fixed_shape, row_to_pixels


@register("backbone", "lenet")
class LeNet(Backbone):
    """Convolutions of 5 × 5 without padding, each with ReLU and 2 × 2 max pooling (LeCun et al., 1998).

    With [32, 48] it is the feature extractor for MNIST of Ganin et al. (2016, arXiv:1505.07818, fig. 4a): at 28 × 28
    pixels the last maps are 48 × 4 × 4. Its label predictor is `head=mlp head.width=100 head.layers=2`.
    Pixels are scaled from 0 … 255 to [−1, 1]. Features: the last maps, flattened (B, D); no tokens.

    Args:
        channels: of each convolution, at least one number of at least 1; each is a block.
        image_size: images are resized to this many pixels a side; null = the data's own size, which then must be one.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})

    def __init__(
        self, spec: Spec, weights: Weights, *, channels: list[int] = [32, 48], image_size: int | None = None
    ) -> None:
        super().__init__()
        require(bool(channels) and min(channels) >= 1, "channels", channels, "a list of integers of at least 1")
        self.shape = fixed_shape(spec, image_size)
        height, width = self.shape[1:]
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise([self.shape[0], *channels]):
            height, width = (height - 4) // 2, (width - 4) // 2
            self.layers.append(nn.Sequential(nn.Conv2d(inputs, outputs, 5), nn.ReLU(), nn.MaxPool2d(2)))
        if min(height, width) < 1:
            size = "x".join(map(str, self.shape[1:]))
            fail("image_size", image_size, f"{size} pixels vanish in {len(channels)} layers; give image_size=28")
        self.feature_dim = channels[-1] * height * width
        self.fresh = load_plain(self, weights, "lenet")

    def forward(self, x: Inputs) -> Features:
        """`pooled` is the last maps, flattened; there are no tokens."""
        return Features(None, self.layers(pixels(x)).flatten(1), None)

    def blocks(self) -> list[nn.Module]:
        """The convolutional layers, shallow → deep."""
        return list(self.layers)

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Makes a row's image a tensor of the network's input shape."""
        return row_to_pixels(self.shape)

    def transform(self, x: Inputs, split: str) -> Tensor:
        """Scales pixels to [-1, 1]."""
        return pixels(x).float() / 127.5 - 1
