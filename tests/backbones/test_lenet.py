"""The 32-48 network of domain-adversarial training: its sizes by hand, its maps against torch's own functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tlresearch.backbones.lenet import LeNet
from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Spec, Task
from tlresearch.core.weights import Weights

COLOUR = Spec("image", (3, 28, 28), ())


def test_sizes_are_the_papers() -> None:
    net = LeNet(COLOUR, Weights("none"))
    assert net.feature_dim == 48 * 4 * 4
    assert sum(p.numel() for p in net.parameters()) == (3 * 25 + 1) * 32 + (32 * 25 + 1) * 48
    head = build(
        "head", {"name": "mlp", "width": 100, "layers": 2}, backbone=net, task=Task("d", "classification", (*"ab",))
    )
    assert sum(p.numel() for p in head.parameters()) == 769 * 100 + 101 * 100 + 101 * 2


def test_features_are_those_of_torchs_functions() -> None:
    torch.manual_seed(0)
    net = LeNet(COLOUR, Weights("none"))
    x = torch.randint(0, 256, (5, 3, 28, 28), dtype=torch.uint8)
    first, second = (layer[0] for layer in net.blocks())
    maps = x.float() / 255 * 2 - 1
    for layer in (first, second):
        maps = F.max_pool2d(F.conv2d(maps, layer.weight, layer.bias).relu(), 2)
    assert torch.allclose(net(net.transform(x, "train")).pooled, maps.reshape(5, 768), atol=1e-5)


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    net = LeNet(COLOUR, Weights("none"), channels=[4])
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    again = LeNet(COLOUR, Weights("path", str(tmp_path / "net.safetensors")), channels=[4])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("channels", [[], [0], [8, -1]])
def test_channels_out_of_range(channels: list[int]) -> None:
    with pytest.raises(ConfigError, match="channels: "):
        LeNet(COLOUR, Weights("none"), channels=channels)


def test_images_that_vanish_are_told() -> None:
    grey = Spec("image", (1, 8, 8), ())
    with pytest.raises(ConfigError, match="image_size: None: 8x8 pixels vanish in 2 layers; give image_size=28"):
        LeNet(grey, Weights("none"))
    assert LeNet(grey, Weights("none"), image_size=28).feature_dim == 768
