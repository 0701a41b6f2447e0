"""The residual network of small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch import Backbone, Features, Inputs, Row, Spec, Weights, register, require
from tlresearch.core.backbone import pixels
from tlresearch.nn.checkpoints import load, read
from tlresearch.nn.images import fixed_shape, row_to_pixels

WIDTHS = (16, 32, 64)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@register("backbone", "cifar_resnet")
class CifarResNet(Backbone):
    """ResNet-20, 32, 44 … for small images (He et al., 2015, arXiv:1512.03385, section 4.2).

    A 3 × 3 convolution with 16 channels, three stages of `layers` residual blocks with 16, 32 and 64 channels, and the
    mean over the places: (B, 64). Shortcuts between stages have no parameters: every other pixel, and zeros for the new
    channels (option A). Names of the weights are those of akamaster/pytorch_resnet_cifar10, whose classifier, where the
    weights have it, becomes `pretrained_head`. Inputs are RGB images, resized, normalised as that repository does.

    Args:
        layers: n, residual blocks a stage, at least 1; the network has 6 n + 2 layers.
        image_size: images are resized to this many pixels a side; null = the data's own size, which then must be one.
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    class_token = False  # tokens are places
    learning_rate: ClassVar[float] = 1e-3
    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, weights: Weights, *, layers: int = 3, image_size: int | None = 32) -> None:
        super().__init__()
        require(layers >= 1, "layers", layers, "an integer of at least 1")
        self.shape = fixed_shape(spec, image_size)
        require(self.shape[0] in (1, 3), "image_size", image_size, "of images with one channel or three")
        self.feature_dim = WIDTHS[-1]
        self.network = _network(layers)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(-1, 1, 1), persistent=False)
        if weights.kind == "none":
            return
        path = weights.location()
        require(path is not None, "weights", str(weights), "path:FILE, package:NAME or none: the hub has none")
        assert path is not None
        state = read(path)
        classifier = {n.removeprefix("linear."): t for n, t in state.items() if n.startswith("linear.")}
        missing = load(self.network, {n: t for n, t in state.items() if not n.startswith("linear.")})
        self.fresh = frozenset(f"network.{name}" for name in missing)
        if classifier:
            classes, width = classifier["weight"].shape
            head = nn.Linear(width, classes)
            head.load_state_dict(classifier)
            self.__dict__["pretrained_head"] = head  # not a submodule: no part of the features

    def forward(self, x: Inputs) -> Features:
        """One token a place of the last feature map; `pooled` is their mean."""
        last: Tensor = self.network.bn1(self.network.conv1(pixels(x))).relu()
        for block in self.blocks():
            last = block(last)
        tokens = last.flatten(2).transpose(1, 2)
        return Features(tokens, tokens.mean(1), None)

    def blocks(self) -> list[nn.Module]:
        """The residual blocks, shallow → deep."""
        return [
            block for name in ("layer1", "layer2", "layer3") for block in self.network.get_submodule(name).children()
        ]

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Makes a row's image a tensor of the network's input shape."""
        return row_to_pixels(self.shape)

    def transform(self, x: Inputs, split: str) -> Tensor:
        """Grey images get three channels; normalised by mean and deviation."""
        images = pixels(x).float()
        return ((images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images) - self.mean) / self.std


class _Network(nn.Module):
    """Stem and stages, under the names that the published weights have."""

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d


def _network(layers: int) -> _Network:
    network = _Network()
    network.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
    network.bn1 = nn.BatchNorm2d(WIDTHS[0])
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, start=1):
        blocks = [BasicBlock(inputs if i == 0 else width, width, 1 if i or stage == 1 else 2) for i in range(layers)]
        network.add_module(f"layer{stage}", nn.Sequential(*blocks))
        inputs = width
    return network


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), with x thinned out and filled up where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, H / stride, W / stride)."""
        out: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        short = x[:, :, :: self.stride, :: self.stride]
        return (out + F.pad(short, (0, 0, 0, 0, self.more, self.more))).relu()
